// Runs batches over one connection, which it makes anew when it is lost. Belongs to one thread.

import IdempotencyStore
import RoutingContract

final class PostgresSession {
    private let target: PostgresTarget
    private let retention: Retention
    private let clock: StoreClock?
    private let timeLimit: Duration

    private var connection: PostgresConnection?
    private var delay = ReconnectDelay()

    init(target: PostgresTarget, retention: Retention, clock: StoreClock?, timeLimit: Duration) {
        self.target = target
        self.retention = retention
        self.clock = clock
        self.timeLimit = timeLimit
    }

    func run(_ batch: [StoreOperation]) throws(StoreError) -> [StoreReply] {
        let deadline = ContinuousClock.now + timeLimit
        let reads = BatchReads(batch)
        precondition(reads.claims <= PostgresSchema.tokensInBlock, "a batch fits into one block of tokens")
        while true {
            let isReused = connection != nil
            let connection = try connected(deadline)
            do throws(PostgresFailure) {
                let found: Found
                do throws(PostgresFailure) {
                    found = try read(reads, connection, deadline)
                } catch {
                    // A connection can have been lost long ago, or its server be a standby by now. Nothing was written
                    // yet, so it is safe to begin again.
                    if case .late = error { throw error }
                    guard isReused, error.isOfThisConnection else { throw error }
                    self.connection = nil
                    continue
                }
                return try write(batch, reads, on: found, connection, deadline)
            } catch {
                if error.isOfThisConnection || !hasRolledBack(connection, deadline) { self.connection = nil }
                if error.isOvertaken, ContinuousClock.now < deadline { continue }
                throw error.storeError(target, timeLimit)
            }
        }
    }

    func close() {
        connection = nil
    }

    private func hasRolledBack(_ connection: PostgresConnection, _ deadline: ContinuousClock.Instant) -> Bool {
        (try? connection.run(PostgresPipeline(steps: [.sql("ROLLBACK")]), deadline: deadline)) != nil
    }

    // MARK: Connecting

    private func connected(_ deadline: ContinuousClock.Instant) throws(StoreError) -> PostgresConnection {
        if let connection { return connection }
        delay.wait(atMostUntil: deadline)
        let connection: PostgresConnection
        do throws(PostgresFailure) {
            connection = try PostgresConnection(target, deadline: deadline, silence: timeLimit)
            try prepare(connection, deadline)
        } catch {
            delay.failed(at: .now)
            throw error.storeError(target, timeLimit)
        }
        delay.succeeded()
        self.connection = connection
        return connection
    }

    private func prepare(_ connection: PostgresConnection, _ deadline: ContinuousClock.Instant) throws(PostgresFailure)
    {
        // The server's own limits let go of locks when this process, its host or the network has stopped.
        let milliseconds = max(1, timeLimit.wholeMilliseconds)
        let found = try connection.run(
            PostgresPipeline(steps: [
                .sql("SELECT set_config('statement_timeout', '\(milliseconds)', false)"),
                // Statements here find rows by their keys. A plan made while the tables were empty reads all of
                // them instead, and stays until the server has analysed them: minutes in which every command costs
                // ten times as much.
                .sql(
                    """
                    SELECT set_config('enable_seqscan', 'off', false), set_config('enable_hashjoin', 'off', false),
                        set_config('enable_mergejoin', 'off', false)
                    """),
                .sql("SELECT set_config('idle_in_transaction_session_timeout', '\(milliseconds)', false)"),
                // What was answered is on disk; stronger settings than `on` stay.
                .sql(
                    """
                    SELECT set_config('synchronous_commit', 'on', false)
                    WHERE current_setting('synchronous_commit') IN ('off', 'local', 'remote_write')
                    """),
                .sql(PostgresSchema.findVersion),
            ]), deadline: deadline)
        let create = PostgresPipeline(steps: PostgresSchema.create.map { .sql($0) })
        if found[4].rows != [[[1]]] { try connection.run(create, deadline: deadline) }
        var (version, oldestReader) = try readVersion(connection, deadline)
        if version < PostgresSchema.version {
            try connection.run(create, deadline: deadline)
            (version, oldestReader) = try readVersion(connection, deadline)
        }
        guard oldestReader <= PostgresSchema.version else {
            throw .newerTables(version)
        }
        let statements = PostgresSchema.Statement.allCases.map {
            PostgresPipeline.Step.prepare(name: $0.rawValue, sql: $0.sql)
        }
        try connection.run(PostgresPipeline(steps: statements), deadline: deadline)
    }

    private func readVersion(
        _ connection: PostgresConnection, _ deadline: ContinuousClock.Instant
    ) throws(PostgresFailure) -> (version: Int64, oldestReader: Int64) {
        let rows = try connection.run(
            PostgresPipeline(steps: [.sql(PostgresSchema.readVersion)]), deadline: deadline)[0]
        guard let version = rows.integer(0, 0), let oldestReader = rows.integer(0, 1) else {
            throw .refused(state: "42P01", message: "the table route_worker_schema is empty")
        }
        return (version, oldestReader)
    }

    // MARK: One batch

    private struct Found {
        var commands: [BatchDecisions.Command]
        var marks: [BatchDecisions.Mark]
        var firstToken: Int64 = 0
        var now: Timestamp
    }

    /// Begins a transaction and locks the commands. Time and tokens are taken once the locks are held: whoever had them
    /// before used earlier ones.
    private func read(
        _ reads: BatchReads, _ connection: PostgresConnection, _ deadline: ContinuousClock.Instant
    ) throws(PostgresFailure) -> Found {
        var pipeline = PostgresPipeline(steps: [.sql("BEGIN")])
        if !reads.commands.isEmpty {
            pipeline.execute(.findCommands, [PostgresValue(reads.commands.map(\.bytes))])
        }
        if !reads.marks.isEmpty { pipeline.execute(.findMarks, [PostgresValue(reads.marks.map(\.bytes))]) }
        pipeline.execute(.now, [])
        if reads.claims > 0 { pipeline.execute(.tokens, []) }

        var results = try connection.run(pipeline, deadline: deadline)[...].dropFirst()
        var found = Found(
            commands: reads.commands.map { _ in BatchDecisions.Command() },
            marks: reads.marks.map { _ in BatchDecisions.Mark(nil) }, now: Timestamp(milliseconds: 0))
        if !reads.commands.isEmpty {
            let indices = Self.indices(reads.commands)
            for row in results.popFirst()?.rows ?? [] {
                guard let bytes = row[0], let command = indices[KeyBytes(bytes: bytes)] else { continue }
                found.commands[command] = Self.command(row[1] ?? [], history: row[2] ?? [])
            }
        }
        if !reads.marks.isEmpty {
            let indices = Self.indices(reads.marks)
            let result = results.popFirst() ?? PostgresRows()
            for (index, row) in result.rows.enumerated() {
                guard let bytes = row[0], let mark = indices[KeyBytes(bytes: bytes)],
                    let issuedAt = result.integer(index, 1), let keepUntil = result.integer(index, 2)
                else { continue }
                found.marks[mark] = BatchDecisions.Mark(
                    ConversationMark(
                        issuedAt: Timestamp(milliseconds: issuedAt), keepUntil: Timestamp(milliseconds: keepUntil)))
            }
        }
        guard let now = results.popFirst()?.integer(0, 0) else { throw .strange }
        found.now = clock?.now() ?? Timestamp(milliseconds: now)
        if reads.claims > 0 {
            guard let token = results.popFirst()?.integer(0, 0) else { throw .strange }
            found.firstToken = token
        }
        return found
    }

    private static func indices(_ keys: [KeyBytes]) -> [KeyBytes: Int] {
        Dictionary(uniqueKeysWithValues: zip(keys, keys.indices))
    }

    private static func command(_ bytes: [UInt8], history: [UInt8]) -> BatchDecisions.Command {
        do throws(StoreError) {
            var record = try RecordCodec.decode(bytes[...])
            record.history = CommandHistory(bytes: history)
            return BatchDecisions.Command(record)
        } catch {
            return BatchDecisions.Command(problem: error)
        }
    }

    /// Decides, writes and commits.
    private func write(
        _ batch: [StoreOperation], _ reads: BatchReads, on found: Found, _ connection: PostgresConnection,
        _ deadline: ContinuousClock.Instant
    ) throws(PostgresFailure) -> [StoreReply] {
        var decisions = BatchDecisions(
            reads, commands: found.commands, marks: found.marks, firstToken: found.firstToken, at: found.now,
            keeping: retention)
        var replies = decisions.perform(batch)

        var pipeline = PostgresPipeline()
        pipeline.write(decisions, reads)
        let writes = pipeline.steps.count
        for index in reads.undecided { pipeline.executeAfterWrites(batch[index], at: found.now) }
        pipeline.steps.append(.sql("COMMIT"))
        let results = try connection.run(pipeline, deadline: deadline)

        var rest = results[writes...].dropLast()
        for index in reads.undecided {
            guard let reply = rest.popFirst().flatMap({ Self.reply(to: batch[index], $0) }) else { throw .strange }
            replies[index] = reply
        }
        return replies
    }

    /// The answer to what is done after the writes.
    private static func reply(to operation: StoreOperation, _ rows: PostgresRows) -> StoreReply? {
        switch operation {
        case .purge(let limit):
            guard let removed = rows.integer(0, 0), let seen = rows.integer(0, 1) else { return nil }
            return .purged(Int(removed), more: limit > 0 && seen >= limit)
        case .search(let search):
            let found = rows.rows.filter { CommandHistory(bytes: $0[1] ?? []).isOf(search.tag) }
            return .searched(
                SearchStep(
                    commands: found.compactMap { KeyBytes(bytes: $0[0] ?? []).command }, seen: rows.rows.count,
                    next: rows.rows.count == search.limit ? rows.rows.last?[0] : nil))
        case .claim, .record, .release, .mark, .find, .forget, .forgetMark:
            return nil
        }
    }
}

extension PostgresPipeline {
    fileprivate mutating func execute(_ statement: PostgresSchema.Statement, _ values: [PostgresValue]) {
        steps.append(.execute(name: statement.rawValue, values))
    }

    /// What concerns commands that nobody named.
    fileprivate mutating func executeAfterWrites(_ operation: StoreOperation, at now: Timestamp) {
        switch operation {
        case .purge(let limit):
            execute(.purge, [PostgresValue(now.milliseconds), PostgresValue(Int64(max(0, limit)))])
        case .search(let search):
            let (after, before) = search.bounds
            execute(
                .searchCommands, [PostgresValue(after), PostgresValue(before), PostgresValue(Int64(search.limit))])
        case .claim, .record, .release, .mark, .find, .forget, .forgetMark:
            break
        }
    }

    /// New rows in the order of their keys, so that workers never wait for each other in a ring; those that were found are
    /// locked already.
    fileprivate mutating func write(_ decisions: BatchDecisions, _ reads: BatchReads) {
        var (new, changed) = (CommandColumns(), CommandColumns())
        var removed: [[UInt8]] = []
        let indices = decisions.commands.indices.filter { decisions.commands[$0].isChanged }
        let found = indices.filter { decisions.commands[$0].isFound }
        let added = indices.filter { !decisions.commands[$0].isFound }
        for index in found + added.sorted(by: { reads.commands[$0] < reads.commands[$1] }) {
            let (key, command) = (reads.commands[index], decisions.commands[index])
            switch (command.isFound, command.record) {
            case (false, let record?): new.append(key, record, command.firstLook ?? record.keepUntil)
            case (true, let record?): changed.append(key, record, command.firstLook)
            case (true, nil): removed.append(key.bytes)
            case (false, nil): break
            }
        }
        if !new.keys.isEmpty { execute(.insertCommands, new.values) }
        if !changed.keys.isEmpty { execute(.updateCommands, changed.values) }
        if !removed.isEmpty { execute(.removeCommands, [PostgresValue(removed)]) }

        let changedMarks = zip(reads.marks, decisions.marks).filter { $1.isChanged }.sorted { $0.0 < $1.0 }
        let removedMarks = changedMarks.filter { $1.mark == nil }.map(\.0.bytes)
        if !removedMarks.isEmpty { execute(.removeMarks, [PostgresValue(removedMarks)]) }
        let marks = changedMarks.compactMap { key, mark in mark.mark.map { (key.bytes, $0) } }
        guard !marks.isEmpty else { return }
        execute(
            .leaveMarks,
            [
                PostgresValue(marks.map(\.0)), PostgresValue(marks.map { $0.1.issuedAt.milliseconds }),
                PostgresValue(marks.map { $0.1.keepUntil.milliseconds }),
            ])
    }
}

/// Rows to write, column by column.
private struct CommandColumns {
    var keys: [[UInt8]] = []
    var records: [[UInt8]] = []
    var histories: [[UInt8]] = []
    var keepUntil: [Int64?] = []
    var lookAt: [Int64?] = []

    var values: [PostgresValue] {
        [
            PostgresValue(keys), PostgresValue(records), PostgresValue(histories), PostgresValue(keepUntil),
            PostgresValue(lookAt),
        ]
    }

    mutating func append(_ key: KeyBytes, _ record: CommandRecord, _ look: Timestamp?) {
        keys.append(key.bytes)
        records.append(RecordCodec.encode(record))
        histories.append(record.history.bytes)
        keepUntil.append(record.keepUntil.milliseconds)
        lookAt.append(look?.milliseconds)
    }
}

extension PostgresFailure {
    fileprivate static var strange: PostgresFailure { .lost("it answers otherwise than PostgreSQL does") }
}
