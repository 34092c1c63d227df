// A batch decided in the worker, for stores that read all that it concerns first and write it back afterwards. Pure.

public import RoutingContract

/// A delete's mark for its conversation.
public struct ConversationMark: Sendable, Hashable {
    public var issuedAt: Timestamp
    /// From then on it may be forgotten.
    public var keepUntil: Timestamp

    public init(issuedAt: Timestamp, keepUntil: Timestamp) {
        self.issuedAt = issuedAt
        self.keepUntil = keepUntil
    }
}

/// What a batch must read before it can be decided.
public struct BatchReads: Sendable {
    /// Each once, sorted, so that workers that lock them do so in the same order.
    public let commands: [KeyBytes]
    /// Each once, sorted. Holds every conversation whose mark the batch may read or write.
    public let marks: [KeyBytes]
    /// How many fencing tokens the batch may use up.
    public let claims: Int

    public init(_ batch: [StoreOperation]) {
        var commands: Set<KeyBytes> = []
        var marks: Set<KeyBytes> = []
        var claims = 0
        for operation in batch {
            switch operation {
            case .claim(let request):
                claims += 1
                commands.insert(KeyBytes(request.key))
                if request.issuedAt != nil { marks.insert(KeyBytes(request.conversationKey)) }
            case .mark(let request):
                commands.insert(KeyBytes(request.key))
                if request.issuedAt != nil { marks.insert(KeyBytes(request.conversationKey)) }
            case .record(_, let claim), .release(let claim, _):
                commands.insert(KeyBytes(claim.key))
            case .find(let key), .forget(let key, _):
                commands.insert(KeyBytes(key))
            case .forgetMark(let conversation):
                marks.insert(KeyBytes(conversation))
            case .search, .purge:
                break
            }
        }
        self.commands = commands.sorted()
        self.marks = marks.sorted()
        self.claims = claims
    }
}

/// Decides one operation after another by the rules of ``CommandRecord``, each on what those before it left.
///
/// Purges and searches are not decided here, since they concern what nobody named: a store runs them itself, after the
/// writes.
public struct BatchDecisions {
    /// A command, as it was found and as it is to be.
    public struct Command {
        /// `nil` where there was none or it cannot be read.
        public let found: CommandRecord?
        /// Why the record that is there cannot be read; operations on it fail alone.
        public let problem: StoreError?
        /// `nil` where there is to be none.
        public fileprivate(set) var record: CommandRecord?
        /// Set for a command that is new: when a purge first looks at it.
        public fileprivate(set) var firstLook: Timestamp?
        public fileprivate(set) var isChanged = false

        public init(_ found: CommandRecord?) {
            self.found = found
            record = found
            problem = nil
        }

        public init(problem: StoreError) {
            found = nil
            record = nil
            self.problem = problem
        }
    }

    public struct Mark {
        /// `nil` where there is to be none.
        public fileprivate(set) var mark: ConversationMark?
        public fileprivate(set) var isChanged = false

        public init(_ found: ConversationMark?) { mark = found }
    }

    public private(set) var commands: [KeyBytes: Command]
    public private(set) var marks: [KeyBytes: Mark]
    private var nextToken: Int64
    private let now: Timestamp
    private let retention: Retention

    /// - Parameters:
    ///   - commands: what was found for ``BatchReads/commands``; a key that is missing was not found.
    ///   - marks: likewise for ``BatchReads/marks``.
    ///   - firstToken: the first of ``BatchReads/claims`` fencing tokens, all higher than any given before.
    ///   - now: the store's time.
    public init(
        commands: [KeyBytes: Command], marks: [KeyBytes: Mark], firstToken: Int64, at now: Timestamp,
        keeping retention: Retention
    ) {
        self.commands = commands
        self.marks = marks
        nextToken = firstToken
        self.now = now
        self.retention = retention
    }

    /// `nil` for a purge and a search.
    public mutating func perform(_ operation: StoreOperation) -> StoreReply? {
        switch operation {
        case .claim(let request):
            let key = KeyBytes(request.key)
            if let problem = commands[key]?.problem { return .failed(problem) }
            return .claim(claim(request, key))
        case .record(let result, let claim):
            let key = KeyBytes(claim.key)
            if let problem = commands[key]?.problem { return .failed(problem) }
            switch CommandRecord.record(
                result, under: claim, finding: commands[key]?.record, at: now, keeping: retention)
            {
            case .write(let record): write(record, key)
            case .alreadyRecorded: break
            case .lost: return .fencing(.lost)
            }
            return .fencing(.held)
        case .release(let claim, let release):
            let key = KeyBytes(claim.key)
            if let problem = commands[key]?.problem { return .failed(problem) }
            switch CommandRecord.release(
                claim, as: release, finding: commands[key]?.record, at: now, keeping: retention)
            {
            case .write(let record): write(record, key)
            case .forget: write(nil, key)
            case .alreadyReleased: break
            case .lost: return .fencing(.lost)
            }
            return .fencing(.held)
        case .mark(let request):
            let command = commands[KeyBytes(request.key)]
            if let problem = command?.problem { return .failed(problem) }
            if let mark = CommandRecord.mark(request, finding: command?.record) { leave(mark, request.conversationKey) }
            return .marked
        case .find(let key):
            let command = commands[KeyBytes(key)]
            if let problem = command?.problem { return .failed(problem) }
            return .found(command?.record)
        case .forget(let key, let tag):
            let command = commands[KeyBytes(key)]
            if let problem = command?.problem { return .failed(problem) }
            let (result, record) = CommandRecord.forget(tag, finding: command?.record, at: now)
            if let record { write(record, KeyBytes(key)) }
            return .forgot(result)
        case .forgetMark(let conversation):
            let key = KeyBytes(conversation)
            guard marks[key]?.mark != nil else { return .forgot(.nothing) }
            marks[key]?.mark = nil
            marks[key]?.isChanged = true
            return .forgot(.forgotten)
        case .search, .purge:
            return nil
        }
    }

    private mutating func claim(_ request: ClaimRequest, _ key: KeyBytes) -> ClaimResult {
        let found = commands[key]?.record
        let latestDelete =
            request.canBeSuperseded ? marks[KeyBytes(request.conversationKey)]?.mark?.issuedAt : nil
        let decision = CommandRecord.claim(
            request, finding: found, latestDelete: latestDelete, token: nextToken, at: now, keeping: retention)
        guard let record = decision.record else { return decision.result }
        if record.token == nextToken { nextToken += 1 }
        write(record, key)
        if found == nil {
            commands[key]?.firstLook = CommandRecord.firstLook(request, at: now, keeping: retention)
        }
        if let mark = decision.mark { leave(mark, request.conversationKey) }
        return decision.result
    }

    private mutating func write(_ record: CommandRecord?, _ key: KeyBytes) {
        commands[key, default: Command(nil)].record = record
        commands[key]?.isChanged = true
    }

    private mutating func leave(_ issuedAt: Timestamp, _ conversation: ConversationKey) {
        let key = KeyBytes(conversation)
        let keepUntil = CommandRecord.keepMark(issuedAt, at: now, keeping: retention)
        let found = marks[key]?.mark
        marks[key, default: Mark(nil)].mark = ConversationMark(
            issuedAt: max(found?.issuedAt ?? issuedAt, issuedAt),
            keepUntil: max(found?.keepUntil ?? keepUntil, keepUntil))
        marks[key]?.isChanged = true
    }
}
