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
///
/// In every state a claim for another meaning is a conflict, unless nothing has come of the command so far: released
/// without a call that counts, it means what it is claimed for next. What mends an org whose commands are parked may be
/// another default context, with which they come back.
public struct CommandRecord: Sendable, Hashable {
    /// Kept apart from the record, so that this is small to move and to copy.
    public indirect enum State: Sendable, Hashable {
        /// Somebody may be calling. `before` is how the command had ended before a replay reopened it; `nil` once a lease has
        /// run out since.
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
    /// Whether the record is to be written; otherwise everything is as it was.
    public var isWrite = true
    /// Whether nothing was remembered of the command.
    public var isFirst = false
    /// The mark to leave for the conversation, unless a later one stands there.
    public var mark: Timestamp?
}

/// What a record leads to.
public enum RecordDecision: Sendable, Hashable {
    case write
    /// It stands there already.
    case alreadyRecorded
    case lost
}

/// What a release leads to.
public enum ReleaseDecision: Sendable, Hashable {
    case write
    case forget
    case alreadyReleased
    case lost
}

// Every decision changes the record in place to what is to be written.
extension CommandRecord {
    /// Decides about a claim.
    ///
    /// - Parameters:
    ///   - record: what is remembered of the command; `nil` when it was never seen or is forgotten.
    ///   - latestDelete: the mark of the command's conversation; only asked for where ``ClaimRequest/canBeSuperseded``.
    ///   - token: higher than every token given so far. It is used up if the record carries it afterwards.
    ///   - now: the store's time.
    public static func claim(
        _ request: ClaimRequest, finding record: inout CommandRecord?, latestDelete: Timestamp?, token: Int64,
        at now: Timestamp, keeping retention: Retention
    ) -> ClaimDecision {
        if let decision = record?.claim(
            request, latestDelete: latestDelete, token: token, at: now, keeping: retention)
        {
            return decision
        }
        var first = CommandRecord(
            fingerprint: request.fingerprint, state: .released(before: nil), token: 0, attempts: 0,
            mayHaveTakenEffect: false, replay: 0, nonce: nil, worker: "", keepUntil: now)
        var decision = first.claim(
            request, latestDelete: latestDelete, token: token, at: now, keeping: retention)
        decision.isFirst = true
        decision.mark = request.mark
        record = first
        return decision
    }

    private mutating func claim(
        _ request: ClaimRequest, latestDelete: Timestamp?, token: Int64, at now: Timestamp,
        keeping retention: Retention
    ) -> ClaimDecision {
        if fingerprint != request.fingerprint {
            guard isUnbound else {
                note(.conflict, request, at: now)
                return ClaimDecision(result: .conflict)
            }
            fingerprint = request.fingerprint
            history.forgetConversation()
        }

        var before: Ending?
        var isInterrupted = false
        var kind = ClaimNote.Kind.acquired
        switch state {
        case .claimed(let until, let ending):
            before = ending
            let isAskedAgain = request.nonce != nil && request.nonce == nonce
            kind = isAskedAgain ? .askedAgain : .interrupted
            if !isAskedAgain {
                guard now >= until else { return ClaimDecision(result: .inProgress(until - now), isWrite: false) }
                isInterrupted = true
                mayHaveTakenEffect = true
                // The call that the replay was for may have been made: what was accepted for it is used up, also for whoever
                // asks for this claim again, or gets it once it was given back.
                before = nil
            }
        case .released(let ending):
            before = ending
        case .completed(let ending):
            guard request.reopens(ending) else {
                note(.duplicate, request, at: now)
                return ClaimDecision(result: .completed(ending.result, replay: ending.replay))
            }
            kind = .reopened
            before = ending
            attempts = 0
        }
        if let made = request.callsMade {
            attempts = max(attempts, made.attempts)
            mayHaveTakenEffect = mayHaveTakenEffect || made.mayHaveTakenEffect
        }
        let until = now + request.lease
        state = .claimed(until: until, before: before)
        self.token = token
        replay = max(replay, request.replay)
        nonce = request.nonce
        worker = request.worker
        keepUntil = until + retention.failed

        let claim = Claim(
            key: request.key, token: token, attempts: attempts, mayHaveTakenEffect: mayHaveTakenEffect, replay: replay,
            isReopened: before != nil)
        let result: ClaimResult
        if isInterrupted {
            result = .interrupted(claim)
        } else if !mayHaveTakenEffect, request.isSuperseded(by: latestDelete) {
            result = .superseded(claim)
            kind = .superseded
        } else {
            result = .acquired(claim)
        }
        history.belong(to: ConversationTag(request.conversationKey))
        history.note(request.untoldCalls)
        let note = ClaimNote(kind: kind, worker: request.worker, delivery: request.delivery, replay: request.replay)
        history.note(.claimed(note), at: now)
        return ClaimDecision(result: result)
    }

    /// Whether it was released and nothing has come of it: neither a call that counts nor, before a replay, an ending.
    private var isUnbound: Bool {
        guard case .released(before: nil) = state else { return false }
        return attempts == 0 && !mayHaveTakenEffect
    }

    /// Decides about recording a result.
    public static func record(
        _ result: CommandResult, under claim: Claim, finding record: inout CommandRecord?, at now: Timestamp,
        keeping retention: Retention
    ) -> RecordDecision {
        record?.complete(with: result, under: claim, at: now, keeping: retention) ?? .lost
    }

    private mutating func complete(
        with result: CommandResult, under claim: Claim, at now: Timestamp, keeping retention: Retention
    ) -> RecordDecision {
        guard token == claim.token else { return .lost }
        switch state {
        case .claimed(let until, _):
            // Whoever finds the lease over takes the command over at any moment, so a late result needs a claim first.
            guard now < until else { return .lost }
            state = .completed(Ending(result: result, replay: replay))
            attempts = max(attempts, result.attempts)
            if result.outcome == .unknown { mayHaveTakenEffect = true }
            keepUntil = now + (result.needsDeadLetter ? retention.failed : retention.succeeded)
            history.note(claim.calls)
            history.note(.ended(result.outcome, replay: replay), at: now)
            return .write
        case .released:
            return .lost
        case .completed:
            return .alreadyRecorded
        }
    }

    /// Decides about giving a claim back.
    public static func release(
        _ claim: Claim, as release: Release, finding record: inout CommandRecord?, at now: Timestamp,
        keeping retention: Retention
    ) -> ReleaseDecision {
        let decision = record?.release(claim, as: release, at: now, keeping: retention) ?? .lost
        if decision == .forget { record = nil }
        return decision
    }

    private mutating func release(
        _ claim: Claim, as release: Release, at now: Timestamp, keeping retention: Retention
    ) -> ReleaseDecision {
        guard token == claim.token else { return .lost }
        let before: Ending?
        switch state {
        case .claimed(_, let ending): before = ending
        case .released: return .alreadyReleased
        case .completed: return .lost
        }
        switch release {
        case .forRetry(let attempts, let mayHaveTakenEffect):
            self.attempts = max(self.attempts, attempts)
            if mayHaveTakenEffect { self.mayHaveTakenEffect = true }
            state = .released(before: before)
        case .unbound:
            let hasEnded = before.map { !mayHaveTakenEffect || $0.result.outcome == .unknown } ?? false
            if attempts == 0, hasEnded, let before {
                state = .completed(before)
                replay = before.replay
                attempts = before.result.attempts
            } else if attempts == 0, !mayHaveTakenEffect {
                return .forget
            } else {
                state = .released(before: before)
            }
        }
        let isFailed = before.map(\.result.needsDeadLetter) ?? false
        keepUntil = now + (isFailed || mayHaveTakenEffect ? retention.failed : retention.succeeded)
        history.note(claim.calls)
        history.note(.released(unbound: release == .unbound), at: now)
        return .write
    }

    /// Decides about removing what a command holds of a person; see ``StoreInspection/forget(_:of:)``. The record is to be
    /// written if the answer is ``Forgetting/forgotten``.
    public static func forget(
        _ tag: ConversationTag, finding record: inout CommandRecord?, at now: Timestamp
    ) -> Forgetting {
        record?.forget(tag, at: now) ?? .nothing
    }

    private mutating func forget(_ tag: ConversationTag, at now: Timestamp) -> Forgetting {
        guard history.isOf(tag) else { return .nothing }
        switch state {
        // What its holder records could not be found again if the tag were gone; a later claim brings its own.
        case .claimed: return .underWay
        case .released(let before): state = .released(before: before?.withoutPerson)
        case .completed(let ending): state = .completed(ending.withoutPerson)
        }
        history.forgetConversation()
        history.note(.forgotten, at: now)
        return .forgotten
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
