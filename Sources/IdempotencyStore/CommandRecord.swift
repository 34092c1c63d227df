// The states of a command and every way from one to the next. Pure: an event in, what to write and to answer out.

public import RoutingContract

/// What a store remembers of a command. Every store decides by these functions alone; it adds reading and writing.
///
/// | state | claim | record by the newest holder | release by the newest holder |
/// |---|---|---|---|
/// | absent | acquired or superseded | lost | lost |
/// | claimed, lease running | in progress; acquired with the same nonce | completed | released or forgotten |
/// | claimed, lease over | interrupted; acquired with the same nonce | lost | released or forgotten |
/// | released | acquired or superseded | lost | held, changes nothing |
/// | completed | completed, or reopened by a replay | held, changes nothing | lost |
public struct CommandRecord: Sendable, Hashable {
    public enum State: Sendable, Hashable {
        /// Somebody may be calling. `before` is how the command had ended before a replay reopened it.
        case claimed(until: Timestamp, before: Ending?)
        /// Nobody is calling.
        case released(before: Ending?)
        case completed(Ending)
    }

    /// A recorded result, and the replay count under which it was recorded.
    public struct Ending: Sendable, Hashable {
        public var result: CommandResult
        public var replay: Int

        public init(result: CommandResult, replay: Int) {
            self.result = result
            self.replay = replay
        }
    }

    public var fingerprint: Fingerprint
    public var state: State
    /// The newest fencing token.
    public var token: Int64
    /// See ``Claim/attempts``.
    public var attempts: Int
    /// See ``Claim/mayHaveTakenEffect``.
    public var mayHaveTakenEffect: Bool
    /// The highest replay count of its claims.
    public var replay: Int
    /// The newest claim's nonce.
    public var nonce: UInt64?
    /// The newest claim's worker.
    public var worker: String
    /// From then on the command may be forgotten.
    public var keepUntil: Timestamp
    /// For people; no decision rests on it.
    public var history: CommandHistory

    public init(
        fingerprint: Fingerprint, state: State, token: Int64, attempts: Int, mayHaveTakenEffect: Bool, replay: Int,
        nonce: UInt64?, worker: String, keepUntil: Timestamp, history: CommandHistory = CommandHistory()
    ) {
        self.fingerprint = fingerprint
        self.state = state
        self.token = token
        self.attempts = attempts
        self.mayHaveTakenEffect = mayHaveTakenEffect
        self.replay = replay
        self.nonce = nonce
        self.worker = worker
        self.keepUntil = keepUntil
        self.history = history
    }
}

/// What a request for a claim leads to.
public struct ClaimDecision: Sendable, Hashable {
    public var result: ClaimResult
    /// The record to write; `nil` leaves everything as it is.
    public var record: CommandRecord?
    /// The mark to leave for the conversation, unless a later one stands there.
    public var mark: Timestamp?
}

/// What a record leads to.
public enum RecordDecision: Sendable, Hashable {
    case write(CommandRecord)
    /// It stands there already.
    case alreadyRecorded
    case lost
}

/// What a release leads to.
public enum ReleaseDecision: Sendable, Hashable {
    case write(CommandRecord)
    case forget
    case alreadyReleased
    case lost
}

extension CommandRecord {
    /// Decides about a claim.
    ///
    /// - Parameters:
    ///   - record: what is remembered of the command; `nil` when it was never seen or is forgotten.
    ///   - latestDelete: the mark of the command's conversation; only asked for where ``ClaimRequest/canBeSuperseded``.
    ///   - token: higher than every token given so far. It is used up if the decision's record carries it.
    ///   - now: the store's time.
    public static func claim(
        _ request: ClaimRequest, finding record: CommandRecord?, latestDelete: Timestamp?, token: Int64,
        at now: Timestamp, keeping retention: Retention
    ) -> ClaimDecision {
        let isFirst = record == nil
        var next =
            record
            ?? CommandRecord(
                fingerprint: request.fingerprint, state: .released(before: nil), token: 0, attempts: 0,
                mayHaveTakenEffect: false, replay: 0, nonce: nil, worker: "", keepUntil: now)
        guard next.fingerprint == request.fingerprint else {
            next.note(.conflict, request, at: now)
            return ClaimDecision(result: .conflict, record: next)
        }

        var before: Ending?
        var isInterrupted = false
        var kind = ClaimNote.Kind.acquired
        switch next.state {
        case .claimed(let until, let ending):
            before = ending
            let isAskedAgain = request.nonce != nil && request.nonce == next.nonce
            kind = isAskedAgain ? .askedAgain : .interrupted
            if !isAskedAgain {
                guard now >= until else { return ClaimDecision(result: .inProgress(until - now)) }
                isInterrupted = true
                next.mayHaveTakenEffect = true
            }
        case .released(let ending):
            before = ending
        case .completed(let ending):
            guard request.reopens(ending) else {
                next.note(.duplicate, request, at: now)
                return ClaimDecision(result: .completed(ending.result, replay: ending.replay), record: next)
            }
            kind = .reopened
            before = ending
            next.attempts = 0
        }
        if let made = request.callsMade {
            next.attempts = max(next.attempts, made.attempts)
            next.mayHaveTakenEffect = next.mayHaveTakenEffect || made.mayHaveTakenEffect
        }
        let until = now + request.lease
        next.state = .claimed(until: until, before: before)
        next.token = token
        next.replay = max(next.replay, request.replay)
        next.nonce = request.nonce
        next.worker = request.worker
        next.keepUntil = until + retention.failed

        let claim = Claim(
            key: request.key, token: token, attempts: next.attempts, mayHaveTakenEffect: next.mayHaveTakenEffect)
        let result: ClaimResult
        if isInterrupted {
            result = .interrupted(claim)
        } else if !next.mayHaveTakenEffect, request.isSuperseded(by: latestDelete) {
            result = .superseded(claim)
            kind = .superseded
        } else {
            result = .acquired(claim)
        }
        next.history.belong(to: ConversationTag(request.conversationKey))
        next.history.note(request.untoldCalls)
        let note = ClaimNote(kind: kind, worker: request.worker, delivery: request.delivery, replay: request.replay)
        next.history.note(.claimed(note), at: now)
        return ClaimDecision(result: result, record: next, mark: isFirst ? request.mark : nil)
    }

    /// Decides about recording a result.
    public static func record(
        _ result: CommandResult, under claim: Claim, finding record: CommandRecord?, at now: Timestamp,
        keeping retention: Retention
    ) -> RecordDecision {
        guard var record, record.token == claim.token else { return .lost }
        switch record.state {
        case .claimed(let until, _):
            // Whoever finds the lease over takes the command over at any moment, so a late result needs a claim first.
            guard now < until else { return .lost }
            record.state = .completed(Ending(result: result, replay: record.replay))
            record.attempts = max(record.attempts, result.attempts)
            if result.outcome == .unknown { record.mayHaveTakenEffect = true }
            record.keepUntil = now + (result.needsDeadLetter ? retention.failed : retention.succeeded)
            record.history.note(claim.calls)
            record.history.note(.ended(result.outcome, replay: record.replay), at: now)
            return .write(record)
        case .released:
            return .lost
        case .completed:
            return .alreadyRecorded
        }
    }

    /// Decides about giving a claim back.
    public static func release(
        _ claim: Claim, as release: Release, finding record: CommandRecord?, at now: Timestamp,
        keeping retention: Retention
    ) -> ReleaseDecision {
        guard var record, record.token == claim.token else { return .lost }
        let before: Ending?
        switch record.state {
        case .claimed(_, let ending): before = ending
        case .released: return .alreadyReleased
        case .completed: return .lost
        }
        switch release {
        case .forRetry(let attempts, let mayHaveTakenEffect):
            record.attempts = max(record.attempts, attempts)
            if mayHaveTakenEffect { record.mayHaveTakenEffect = true }
            record.state = .released(before: before)
        case .unbound:
            let hasEnded = before.map { !record.mayHaveTakenEffect || $0.result.outcome == .unknown } ?? false
            if record.attempts == 0, hasEnded, let before {
                record.state = .completed(before)
                record.replay = before.replay
                record.attempts = before.result.attempts
            } else if record.attempts == 0, !record.mayHaveTakenEffect {
                return .forget
            } else {
                record.state = .released(before: before)
            }
        }
        let isFailed = before.map(\.result.needsDeadLetter) ?? false
        record.keepUntil =
            now + (isFailed || record.mayHaveTakenEffect ? retention.failed : retention.succeeded)
        record.history.note(claim.calls)
        record.history.note(.released(unbound: release == .unbound), at: now)
        return .write(record)
    }

    /// Decides about removing what a command holds of a person; see ``StoreInspection/forget(_:of:)``.
    public static func forget(
        _ tag: ConversationTag, finding record: CommandRecord?, at now: Timestamp
    ) -> (result: Forgetting, record: CommandRecord?) {
        guard var record, record.history.isOf(tag) else { return (.nothing, nil) }
        switch record.state {
        // What its holder records could not be found again if the tag were gone; a later claim brings its own.
        case .claimed: return (.underWay, nil)
        case .released(let before): record.state = .released(before: before?.withoutPerson)
        case .completed(let ending): record.state = .completed(ending.withoutPerson)
        }
        record.history.forgetConversation()
        record.history.note(.forgotten, at: now)
        return (.forgotten, record)
    }

    /// Notes a delivery that leads to no claim.
    private mutating func note(_ kind: SeenAgain.Kind, _ request: ClaimRequest, at now: Timestamp) {
        history.note(request.untoldCalls)
        history.note(SeenAgain(kind: kind, lastAt: now, worker: request.worker, delivery: request.delivery))
    }

    /// Decides which mark a delete leaves ahead of its turn, if any.
    public static func mark(_ request: ClaimRequest, finding record: CommandRecord?) -> Timestamp? {
        record == nil ? request.mark : nil
    }

    /// When a purge should first look at a command whose first claim this is: when a success would be over. What must be
    /// kept longer is then looked at again at its ``keepUntil``, so that the usual command never moves in an index.
    public static func firstLook(_ request: ClaimRequest, at now: Timestamp, keeping retention: Retention) -> Timestamp
    {
        now + request.lease + min(retention.succeeded, retention.failed)
    }

    /// How long a mark is kept: as long as a route issued before it can still come.
    public static func keepMark(_ mark: Timestamp, at now: Timestamp, keeping retention: Retention) -> Timestamp {
        max(now, mark) + retention.succeeded
    }
}

extension CommandRecord.Ending {
    /// What decisions and duplicates' answers need, and nothing that Salesforce said.
    fileprivate var withoutPerson: Self {
        var ending = self
        ending.result.response = nil
        ending.result.error?.message = "removed with all else that was kept of the conversation"
        return ending
    }
}

extension ClaimRequest {
    /// Whether the mark of the conversation matters to the claim.
    public var canBeSuperseded: Bool { key.kind == .route && issuedAt != nil }

    /// The mark that a delete leaves.
    fileprivate var mark: Timestamp? { key.kind == .delete ? issuedAt : nil }

    fileprivate func isSuperseded(by latestDelete: Timestamp?) -> Bool {
        guard key.kind == .route, let issuedAt, let latestDelete else { return false }
        return issuedAt < latestDelete
    }

    /// Whether this is a replay that opens a command which ended so. What has no dead letter is never reopened: its
    /// replay only announces the answer again.
    fileprivate func reopens(_ ending: CommandRecord.Ending) -> Bool {
        guard replay > ending.replay, ending.result.needsDeadLetter else { return false }
        return ending.result.outcome != .unknown || acceptsSecondEffect
    }
}
