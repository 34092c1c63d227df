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
    /// Keys, each once and in the order in which they were named first.
    struct Keys: Sendable {
        private(set) var all: [KeyBytes] = []
        private var indices: [KeyBytes: Int] = [:]

        init(capacity: Int) {
            all.reserveCapacity(capacity)
            indices.reserveCapacity(capacity)
        }

        /// Where it stands; appends it unless it stands there already.
        mutating func index(of key: KeyBytes) -> Int {
            let index = all.count
            // Nearly every key is new, and so is looked up once.
            if let known = indices.updateValue(index, forKey: key) {
                indices[key] = known
                return known
            }
            all.append(key)
            return index
        }
    }

    /// Where that stands which an operation concerns; `nil` where it concerns none.
    struct Place: Sendable {
        var command: Int?
        var mark: Int?
    }

    /// Each once.
    public let commands: [KeyBytes]
    /// Each once. Holds every conversation whose mark the batch may read or write.
    public let marks: [KeyBytes]
    /// How many fencing tokens the batch may use up.
    public let claims: Int
    /// Which operations the store runs itself: purges and searches.
    public let undecided: [Int]
    /// One for each operation.
    let places: [Place]

    public init(_ batch: [StoreOperation]) {
        var commands = Keys(capacity: batch.count)
        var marks = Keys(capacity: 0)
        var claims = 0
        var undecided: [Int] = []
        places = batch.indices.map { index in
            switch batch[index] {
            case .claim(let request):
                claims += 1
                return Place(of: request, &commands, &marks)
            case .mark(let request):
                return Place(of: request, &commands, &marks)
            case .record(_, let claim), .release(let claim, _):
                return Place(command: commands.index(of: KeyBytes(claim.key)))
            case .find(let key), .forget(let key, _):
                return Place(command: commands.index(of: KeyBytes(key)))
            case .forgetMark(let conversation):
                return Place(mark: marks.index(of: KeyBytes(conversation)))
            case .search, .purge:
                undecided.append(index)
                return Place()
            }
        }
        self.commands = commands.all
        self.marks = marks.all
        self.claims = claims
        self.undecided = undecided
    }
}

extension BatchReads.Place {
    fileprivate init(of request: ClaimRequest, _ commands: inout BatchReads.Keys, _ marks: inout BatchReads.Keys) {
        command = commands.index(of: KeyBytes(request.key))
        if request.issuedAt != nil { mark = marks.index(of: KeyBytes(request.conversationKey)) }
    }
}

/// Decides one operation after another by the rules of ``CommandRecord``, each on what those before it left.
///
/// Purges and searches are not decided here, since they concern what nobody named: a store runs them itself, after the
/// writes.
public struct BatchDecisions {
    /// A command, as it is to be.
    public struct Command {
        /// Whether anything was there that can be read.
        public let isFound: Bool
        /// Why the record that is there cannot be read; operations on it fail alone.
        public let problem: StoreError?
        /// `nil` where there is to be none, and where it cannot be read.
        public fileprivate(set) var record: CommandRecord?
        /// Set for a command that is new: when a purge first looks at it.
        public fileprivate(set) var firstLook: Timestamp?
        public fileprivate(set) var isChanged = false

        /// Nothing was found.
        public init() {
            isFound = false
            problem = nil
            record = nil
        }

        public init(_ found: CommandRecord) {
            isFound = true
            problem = nil
            record = found
        }

        public init(problem: StoreError) {
            isFound = false
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

    /// Index for index with ``BatchReads/commands``.
    public private(set) var commands: [Command]
    /// Index for index with ``BatchReads/marks``.
    public private(set) var marks: [Mark]
    private let places: [BatchReads.Place]
    private var nextToken: Int64
    private let now: Timestamp
    private let retention: Retention

    /// - Parameters:
    ///   - commands: what was found for ``BatchReads/commands``.
    ///   - marks: likewise for ``BatchReads/marks``.
    ///   - firstToken: the first of ``BatchReads/claims`` fencing tokens, all higher than any given before.
    ///   - now: the store's time.
    public init(
        _ reads: BatchReads, commands: [Command], marks: [Mark], firstToken: Int64, at now: Timestamp,
        keeping retention: Retention
    ) {
        precondition(commands.count == reads.commands.count && marks.count == reads.marks.count, "all was read")
        self.commands = commands
        self.marks = marks
        places = reads.places
        nextToken = firstToken
        self.now = now
        self.retention = retention
    }

    /// Takes the batch that the reads were for. In the place of a reply to what is ``BatchReads/undecided`` stands that
    /// nothing was purged.
    public mutating func perform(_ batch: [StoreOperation]) -> [StoreReply] {
        batch.indices.map { perform(batch[$0], at: places[$0]) ?? .purged(0, more: false) }
    }

    /// `nil` for a purge and a search.
    private mutating func perform(_ operation: StoreOperation, at place: BatchReads.Place) -> StoreReply? {
        guard let command = place.command else {
            // What concerns a mark alone is a wish to forget it.
            return place.mark.map { .forgot(forgetMark($0)) }
        }
        if let problem = commands[command].problem { return .failed(problem) }
        switch operation {
        case .claim(let request):
            return .claim(claim(request, command, place.mark))
        case .record(let result, let claim):
            let decision = CommandRecord.record(
                result, under: claim, finding: &commands[command].record, at: now, keeping: retention)
            switch decision {
            case .write: commands[command].isChanged = true
            case .alreadyRecorded: break
            case .lost: return .fencing(.lost)
            }
            return .fencing(.held)
        case .release(let claim, let release):
            let decision = CommandRecord.release(
                claim, as: release, finding: &commands[command].record, at: now, keeping: retention)
            switch decision {
            case .write, .forget: commands[command].isChanged = true
            case .alreadyReleased: break
            case .lost: return .fencing(.lost)
            }
            return .fencing(.held)
        case .mark(let request):
            if let issuedAt = CommandRecord.mark(request, finding: commands[command].record) {
                leave(issuedAt, place.mark)
            }
            return .marked
        case .find:
            return .found(commands[command].record)
        case .forget(_, let tag):
            let result = CommandRecord.forget(tag, finding: &commands[command].record, at: now)
            if result == .forgotten { commands[command].isChanged = true }
            return .forgot(result)
        case .forgetMark, .search, .purge:
            return nil
        }
    }

    private mutating func claim(_ request: ClaimRequest, _ command: Int, _ mark: Int?) -> ClaimResult {
        let latestDelete = request.canBeSuperseded ? mark.flatMap { marks[$0].mark?.issuedAt } : nil
        let decision = CommandRecord.claim(
            request, finding: &commands[command].record, latestDelete: latestDelete, token: nextToken, at: now,
            keeping: retention)
        guard decision.isWrite else { return decision.result }
        commands[command].isChanged = true
        if commands[command].record?.token == nextToken { nextToken += 1 }
        if decision.isFirst {
            commands[command].firstLook = CommandRecord.firstLook(request, at: now, keeping: retention)
        }
        if let issuedAt = decision.mark { leave(issuedAt, mark) }
        return decision.result
    }

    private mutating func leave(_ issuedAt: Timestamp, _ mark: Int?) {
        guard let mark else { return }
        let keepUntil = CommandRecord.keepMark(issuedAt, at: now, keeping: retention)
        let found = marks[mark].mark
        marks[mark].mark = ConversationMark(
            issuedAt: max(found?.issuedAt ?? issuedAt, issuedAt),
            keepUntil: max(found?.keepUntil ?? keepUntil, keepUntil))
        marks[mark].isChanged = true
    }

    private mutating func forgetMark(_ mark: Int) -> Forgetting {
        guard marks[mark].mark != nil else { return .nothing }
        marks[mark].mark = nil
        marks[mark].isChanged = true
        return .forgotten
    }
}
