// The statements of a batch, by what they do. SQL stands here and in the schema, nowhere else.

import GRDB
import IdempotencyStore
import RoutingContract

final class SQLiteStatements {
    struct CommandRow {
        /// `nil` where there is no row.
        var id: Int64?
        var record: CommandRecord?
    }

    struct DueCommand {
        var id: Int64
        var keepUntil: Timestamp
    }

    enum SQL: Int, CaseIterable {
        case begin, commit, rollback
        case findCommand, insertCommand, updateCommand, removeCommand
        case searchCommands
        case findMark, leaveMark, removeMark
        case readToken, writeToken
        case dueCommands, lookAgain, removeMarks

        var text: String {
            switch self {
            // Takes the write lock at once: reading first and writing later would fail on another process's write.
            case .begin: "BEGIN IMMEDIATE"
            case .commit: "COMMIT"
            case .rollback: "ROLLBACK"
            case .findCommand:
                """
                SELECT state, until, token, attempts, uncertain, replay, nonce, worker, keep_until, result,
                    result_replay, fingerprint, id, history FROM command WHERE key = ?1
                """
            case .insertCommand:
                """
                INSERT INTO command (state, until, token, attempts, uncertain, replay, nonce, worker, keep_until,
                    result, result_replay, changed_at, history, fingerprint, key, look_at)
                    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)
                    ON CONFLICT (key) DO NOTHING
                """
            case .updateCommand:
                """
                UPDATE command SET state = ?1, until = ?2, token = ?3, attempts = ?4, uncertain = ?5, replay = ?6,
                    nonce = ?7, worker = ?8, keep_until = ?9, result = ?10, result_replay = ?11, changed_at = ?12,
                    history = ?13, fingerprint = ?14 WHERE id = ?15
                """
            case .removeCommand: "DELETE FROM command WHERE id = ?1"
            case .searchCommands:
                "SELECT key, history FROM command WHERE key > ?1 AND key < ?2 ORDER BY key LIMIT ?3"
            case .findMark: "SELECT issued_at FROM delete_mark WHERE key = ?1"
            case .leaveMark:
                """
                INSERT INTO delete_mark (key, issued_at, keep_until) VALUES (?1, ?2, ?3)
                    ON CONFLICT (key) DO UPDATE SET issued_at = max(issued_at, excluded.issued_at),
                    keep_until = max(keep_until, excluded.keep_until)
                """
            case .removeMark: "DELETE FROM delete_mark WHERE key = ?1"
            case .readToken: "SELECT last FROM fencing_token"
            case .writeToken: "UPDATE fencing_token SET last = ?1"
            case .dueCommands: "SELECT id, keep_until FROM command WHERE look_at <= ?1 ORDER BY look_at LIMIT ?2"
            case .lookAgain: "UPDATE command SET look_at = ?2 WHERE id = ?1"
            case .removeMarks:
                """
                DELETE FROM delete_mark WHERE id IN
                    (SELECT id FROM delete_mark WHERE keep_until <= ?1 ORDER BY keep_until LIMIT ?2)
                """
            }
        }
    }

    /// The column `state`: never renumber.
    private enum StateCode: Int64 {
        case claimed = 1
        case released = 2
        case completed = 3
    }

    private let database: Database
    private var prepared = [PreparedStatement?](repeating: nil, count: SQL.allCases.count)

    init(_ database: Database) {
        self.database = database
    }

    /// Looks a statement up in the connection's cache at its first use in the batch.
    private func prepare(_ sql: SQL) throws -> PreparedStatement {
        if let statement = prepared[sql.rawValue] { return statement }
        let statement = try PreparedStatement(sql.text, in: database)
        prepared[sql.rawValue] = statement
        return statement
    }

    func begin() throws { try prepare(.begin).run() }
    func commit() throws { try prepare(.commit).run() }
    func rollback() throws { try prepare(.rollback).run() }

    // MARK: Commands

    func findCommand(_ key: KeyBytes) throws -> CommandRow {
        let statement = try prepare(.findCommand)
        statement.bind(1, key.bytes)
        guard try statement.step() else {
            statement.reset()
            return CommandRow()
        }
        defer { statement.reset() }
        let ending: CommandRecord.Ending? =
            statement.isNull(9)
            ? nil
            : CommandRecord.Ending(
                result: try unreadable { () throws(StoreError) in try ResultCodec.decode(statement.bytes(9)) },
                replay: Int(statement.integer(10)))
        let until = Timestamp(milliseconds: statement.integer(1))
        let state: CommandRecord.State
        switch (StateCode(rawValue: statement.integer(0)), ending) {
        case (.claimed, let before): state = .claimed(until: until, before: before)
        case (.released, let before): state = .released(before: before)
        case (.completed, let ending?): state = .completed(ending)
        case (.completed, nil), (nil, _): throw UnreadableRow(problem: .unusable("a command has an unknown state"))
        }
        let fingerprint = statement.bytes(11)
        guard fingerprint.count == 32 else {
            throw UnreadableRow(problem: .unusable("a command has a damaged fingerprint"))
        }
        let record = CommandRecord(
            fingerprint: Fingerprint(bytes: fingerprint), state: state, token: statement.integer(2),
            attempts: Int(statement.integer(3)), mayHaveTakenEffect: statement.integer(4) != 0,
            replay: Int(statement.integer(5)),
            nonce: statement.isNull(6) ? nil : UInt64(bitPattern: statement.integer(6)), worker: statement.text(7),
            keepUntil: Timestamp(milliseconds: statement.integer(8)),
            history: CommandHistory(bytes: statement.isNull(13) ? [] : statement.bytes(13)))
        return CommandRow(id: statement.integer(12), record: record)
    }

    /// Returns `false`, having changed nothing, where there is a row of this key.
    func insert(_ row: CommandRow, key: KeyBytes, lookAt: Timestamp, at now: Timestamp) throws -> Bool {
        guard let record = row.record else { return false }
        let statement = try prepare(.insertCommand)
        bind(record, at: now, to: statement)
        statement.bind(15, key.bytes)
        statement.bind(16, lookAt.milliseconds)
        try statement.run()
        return statement.changes > 0
    }

    /// Writes the row again, if there was one.
    func update(_ row: CommandRow, at now: Timestamp) throws {
        guard let id = row.id, let record = row.record else { return }
        let statement = try prepare(.updateCommand)
        bind(record, at: now, to: statement)
        statement.bind(15, id)
        try statement.run()
    }

    func removeCommand(id: Int64) throws {
        let statement = try prepare(.removeCommand)
        statement.bind(1, id)
        try statement.run()
    }

    func search(_ search: ConversationSearch) throws -> SearchStep {
        let statement = try prepare(.searchCommands)
        statement.bind(1, search.bounds.after)
        statement.bind(2, search.bounds.before)
        statement.bind(3, Int64(search.limit))
        defer { statement.reset() }
        var found = SearchStep()
        var last: [UInt8] = []
        while try statement.step() {
            found.seen += 1
            last = statement.bytes(0)
            guard CommandHistory(bytes: statement.bytes(1)).isOf(search.tag), let key = KeyBytes(bytes: last).command
            else { continue }
            found.commands.append(key)
        }
        if found.seen == search.limit { found.next = last }
        return found
    }

    private func bind(_ record: CommandRecord, at now: Timestamp, to statement: PreparedStatement) {
        let code: StateCode
        var until: Timestamp?
        let ending: CommandRecord.Ending?
        switch record.state {
        case .claimed(let end, let before): (code, until, ending) = (.claimed, end, before)
        case .released(let before): (code, ending) = (.released, before)
        case .completed(let result): (code, ending) = (.completed, result)
        }
        statement.bind(1, code.rawValue)
        statement.bind(2, until?.milliseconds)
        statement.bind(3, record.token)
        statement.bind(4, Int64(record.attempts))
        statement.bind(5, record.mayHaveTakenEffect ? 1 : 0)
        statement.bind(6, Int64(record.replay))
        statement.bind(7, record.nonce.map { Int64(bitPattern: $0) })
        statement.bind(8, record.worker)
        statement.bind(9, record.keepUntil.milliseconds)
        statement.bind(10, ending.map { ResultCodec.encode($0.result) })
        statement.bind(11, ending.map { Int64($0.replay) })
        statement.bind(12, now.milliseconds)
        statement.bind(13, record.history.bytes)
        statement.bind(14, record.fingerprint.bytes)
    }

    // MARK: Marks

    func findMark(_ key: KeyBytes) throws -> Timestamp? {
        let statement = try prepare(.findMark)
        statement.bind(1, key.bytes)
        defer { statement.reset() }
        return try statement.step() ? Timestamp(milliseconds: statement.integer(0)) : nil
    }

    func leaveMark(_ key: KeyBytes, issuedAt: Timestamp, keepUntil: Timestamp) throws {
        let statement = try prepare(.leaveMark)
        statement.bind(1, key.bytes)
        statement.bind(2, issuedAt.milliseconds)
        statement.bind(3, keepUntil.milliseconds)
        try statement.run()
    }

    /// Returns whether there was one.
    func removeMark(_ key: KeyBytes) throws -> Bool {
        let statement = try prepare(.removeMark)
        statement.bind(1, key.bytes)
        try statement.run()
        return statement.changes > 0
    }

    // MARK: Fencing tokens

    func readToken() throws -> Int64 {
        let statement = try prepare(.readToken)
        defer { statement.reset() }
        guard try statement.step() else {
            throw SQLiteFailure(code: .SQLITE_CORRUPT, message: "the table fencing_token is empty")
        }
        return statement.integer(0)
    }

    func writeToken(_ last: Int64) throws {
        let statement = try prepare(.writeToken)
        statement.bind(1, last)
        try statement.run()
    }

    // MARK: Purge

    /// Commands to look at, each at most once: the caller removes it or has it looked at again later.
    func dueCommands(at now: Timestamp, limit: Int) throws -> [DueCommand] {
        let statement = try prepare(.dueCommands)
        statement.bind(1, now.milliseconds)
        statement.bind(2, Int64(limit))
        defer { statement.reset() }
        var commands: [DueCommand] = []
        while try statement.step() {
            let keepUntil = Timestamp(milliseconds: statement.integer(1))
            commands.append(DueCommand(id: statement.integer(0), keepUntil: keepUntil))
        }
        return commands
    }

    func lookAgain(id: Int64, at time: Timestamp) throws {
        let statement = try prepare(.lookAgain)
        statement.bind(1, id)
        statement.bind(2, time.milliseconds)
        try statement.run()
    }

    /// Returns how many it removed.
    func removeMarks(dueAt now: Timestamp, limit: Int) throws -> Int {
        let statement = try prepare(.removeMarks)
        statement.bind(1, now.milliseconds)
        statement.bind(2, Int64(limit))
        try statement.run()
        return statement.changes
    }

    private func unreadable<Value>(_ body: () throws(StoreError) -> Value) throws(UnreadableRow) -> Value {
        do {
            return try body()
        } catch {
            throw UnreadableRow(problem: error)
        }
    }
}
