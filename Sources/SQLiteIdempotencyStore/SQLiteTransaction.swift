// The operations of one batch: read a row, ask the pure rules, write the row.

import IdempotencyStore
import RoutingContract

struct SQLiteTransaction {
    private let statements: SQLiteStatements
    private let now: Timestamp
    private let retention: Retention
    /// The newest token of the database; read with the first claim, written back once at the end.
    private var lastToken: Int64?
    private var hasNewToken = false

    init(statements: SQLiteStatements, now: Timestamp, retention: Retention) {
        self.statements = statements
        self.now = now
        self.retention = retention
    }

    mutating func perform(_ operation: StoreOperation) throws -> StoreReply {
        do throws {
            switch operation {
            case .claim(let request): return try claim(request)
            case .record(let result, let claim): return try record(result, under: claim)
            case .release(let claim, let release): return try self.release(claim, as: release)
            case .mark(let request): return try mark(request)
            case .find(let key): return .found(try statements.findCommand(KeyBytes(key)).record)
            case .search(let search): return .searched(try statements.search(search))
            case .forget(let key, let tag): return try forget(KeyBytes(key), tag)
            case .forgetMark(let conversation):
                return .forgot(try statements.removeMark(KeyBytes(conversation)) ? .forgotten : .nothing)
            case .purge(let limit): return try purge(limit: max(0, limit))
            }
        } catch let error as UnreadableRow {
            return .failed(error.problem)
        }
    }

    mutating func finish() throws {
        guard hasNewToken, let lastToken else { return }
        try statements.writeToken(lastToken)
    }

    private mutating func claim(_ request: ClaimRequest) throws -> StoreReply {
        let key = KeyBytes(request.key)
        let latestDelete: Timestamp? =
            request.canBeSuperseded ? try statements.findMark(KeyBytes(request.conversationKey)) : nil
        let newest = try lastToken ?? statements.readToken()
        lastToken = newest
        // Nearly every claim is the first of its command: whether it is shows as it is written, without looking before.
        var row = SQLiteStatements.CommandRow()
        var decision = CommandRecord.claim(
            request, finding: &row.record, latestDelete: latestDelete, token: newest + 1, at: now, keeping: retention)
        let lookAt = CommandRecord.firstLook(request, at: now, keeping: retention)
        if try !statements.insert(row, key: key, lookAt: lookAt, at: now) {
            row = try statements.findCommand(key)
            decision = CommandRecord.claim(
                request, finding: &row.record, latestDelete: latestDelete, token: newest + 1, at: now,
                keeping: retention)
            guard decision.isWrite else { return .claim(decision.result) }
            try statements.update(row, at: now)
        }
        if row.record?.token == newest + 1 {
            lastToken = newest + 1
            hasNewToken = true
        }
        if let mark = decision.mark { try leave(mark, for: request.conversationKey) }
        return .claim(decision.result)
    }

    private func record(_ result: CommandResult, under claim: Claim) throws -> StoreReply {
        var row = try statements.findCommand(KeyBytes(claim.key))
        let decision = CommandRecord.record(result, under: claim, finding: &row.record, at: now, keeping: retention)
        switch decision {
        case .write:
            try statements.update(row, at: now)
            return .fencing(.held)
        case .alreadyRecorded:
            return .fencing(.held)
        case .lost:
            return .fencing(.lost)
        }
    }

    private func release(_ claim: Claim, as release: Release) throws -> StoreReply {
        var row = try statements.findCommand(KeyBytes(claim.key))
        let decision = CommandRecord.release(claim, as: release, finding: &row.record, at: now, keeping: retention)
        switch decision {
        case .write:
            try statements.update(row, at: now)
            return .fencing(.held)
        case .forget:
            if let id = row.id { try statements.removeCommand(id: id) }
            return .fencing(.held)
        case .alreadyReleased:
            return .fencing(.held)
        case .lost:
            return .fencing(.lost)
        }
    }

    private func forget(_ key: KeyBytes, _ tag: ConversationTag) throws -> StoreReply {
        var row = try statements.findCommand(key)
        let result = CommandRecord.forget(tag, finding: &row.record, at: now)
        if result == .forgotten { try statements.update(row, at: now) }
        return .forgot(result)
    }

    private func mark(_ request: ClaimRequest) throws -> StoreReply {
        let row = try statements.findCommand(KeyBytes(request.key))
        if let mark = CommandRecord.mark(request, finding: row.record) {
            try leave(mark, for: request.conversationKey)
        }
        return .marked
    }

    private func leave(_ mark: Timestamp, for conversation: ConversationKey) throws {
        let keepUntil = CommandRecord.keepMark(mark, at: now, keeping: retention)
        try statements.leaveMark(KeyBytes(conversation), issuedAt: mark, keepUntil: keepUntil)
    }

    /// Commands first, then marks with what is left of the limit.
    private func purge(limit: Int) throws -> StoreReply {
        let due = try statements.dueCommands(at: now, limit: limit)
        var removed = 0
        for command in due {
            if command.keepUntil > now {
                try statements.lookAgain(id: command.id, at: command.keepUntil)
            } else {
                try statements.removeCommand(id: command.id)
                removed += 1
            }
        }
        guard due.count < limit else { return .purged(removed, more: limit > 0) }
        let marks = try statements.removeMarks(dueAt: now, limit: limit - due.count)
        return .purged(removed + marks, more: due.count + marks == limit)
    }
}
