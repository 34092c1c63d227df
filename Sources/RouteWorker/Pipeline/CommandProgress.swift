// The life of one command between its claim and its ending. Pure: told what happened, it says what to do next.

import AMQP
import IdempotencyStore
import InteractionAPI
import RoutingContract

/// One command on its way: claim → call → record, with every turn that failures can take.
///
/// The rules are those of the semantics page: at most one call per claim; after an attempt of unknown effect only
/// `succeeded` or `unknown` may follow; deadline and superseding are judged only for a newly acquired claim; a claim is
/// released before any wait. A result that came too late for its lease is recorded under the claim asked for anew, unless
/// somebody took the command over in the meantime.
struct CommandProgress {
    let command: RouteCommand
    let policy: OrgPolicy
    /// What this delivery is to the worker.
    let delivery: Context

    private var claim: Claim?
    private var leaseEnds: Duration = .zero
    private var startedAt: Duration?
    private var looks = 0
    private var storeFailures = 0
    private var mustClear = false
    private var canPark: Bool
    /// Requests of the last call that do not count, unless the command stays here after all.
    private var uncounted = 0
    private var timesGivenWay = 0
    /// What the last call meant.
    private(set) var lastVerdict: Verdict?
    /// Calls that the store has not been told of.
    private var notes = CallNotes()

    private(set) var attempts = 0
    private(set) var mayHaveTakenEffect = false
    private var lastStatus: Int?
    private var lastResponse: APIResponse?

    /// Changes with every wish to call, and not while it is the same wish: when asked again because the store failed, nor
    /// after a claim in doubt was given back, since the store may do late what it was asked for before.
    private var nonce: UInt64
    /// That of the claim held last.
    private var claimNonce: UInt64
    /// What the command ended with when its lease ran out before that could be recorded.
    private var unrecorded: CommandResult?
    /// Whether the store may have given a claim and could not say so.
    private var isInDoubt = false

    /// Whether claiming goes on without a channel to acknowledge on, and without the org's leave to call: a result is known
    /// that nobody else knows, or a claim may stand under which no call was begun, which nobody else could tell from one
    /// that was interrupted.
    var mustClaim: Bool { unrecorded != nil || isInDoubt }

    /// - Parameter nonce: random, so that no other delivery's claims are taken for this one's.
    init(command: RouteCommand, policy: OrgPolicy, delivery: Context, nonce: UInt64) {
        self.command = command
        self.policy = policy
        self.delivery = delivery
        self.nonce = nonce
        canPark = delivery.parks
        claimNonce = nonce
    }

    /// The claim to ask for at ``Step/claim``.
    func claimRequest(_ now: Moment) -> ClaimRequest {
        var request = ClaimRequest(
            command, lease: delivery.lease, worker: delivery.worker, nonce: nonce)
        request.delivery = DeliveryNote(
            receivedAt: delivery.receivedAt, earlierDeliveries: delivery.earlierDeliveries)
        request.untoldCalls = notes.untold
        // An expired delete supersedes nothing.
        if command.key.kind == .delete, isTooLate(now) { request.issuedAt = nil }
        if let unrecorded {
            request.callsMade = CallsMade(
                attempts: attempts, mayHaveTakenEffect: mayHaveTakenEffect || unrecorded.outcome == .succeeded)
        }
        return request
    }

    /// The claim as the store is to see it with a record or a release: with the calls made under it.
    func telling(_ claim: Claim) -> Claim {
        var claim = claim
        claim.calls = notes.untold
        return claim
    }

    // MARK: Events

    /// - Parameter askedAt: when the claim was asked for, so that the lease is never thought longer than it is.
    mutating func claimed(_ result: ClaimResult, askedAt: Moment, now: Moment) -> Step {
        if startedAt == nil { startedAt = now.uptime }
        leaseEnds = askedAt.uptime + delivery.lease
        claimNonce = nonce
        if !isInDoubt { nonce &+= 1 }
        defer { isInDoubt = false }
        notes.told(with: result)
        if let step = recordLate(under: result) { return step }
        switch result {
        case .completed(let result, let replay):
            return .end(Ending(result: result, duplicate: true, replay: replay))
        case .conflict:
            let error = CommandError(
                message: "this RequestId was used before for a command with another meaning; use a new RequestId",
                reason: "request-id-reused")
            return .end(ending(.conflict, error, now))
        case .inProgress(let remaining):
            looks += 1
            let backoff = min(Self.lookAgain * (1 << min(looks, 6)), Self.lookAgainAtMost)
            return .wait(min(remaining + Self.lookAgain, backoff))
        case .superseded(let claim):
            adopt(claim)
            let error = CommandError(
                message: "a later delete of the conversation made this route pointless", reason: "deleted-later")
            return record(.superseded, error, now)
        case .acquired(let claim):
            adopt(claim)
            return proceed(
                now,
                despiteUnknownEffect: mayCallAgainAfterUnknownEffect
                    || claim.isReopened && command.acceptsSecondEffect)
        case .interrupted(let claim):
            adopt(claim)
            // The holder may have died in the middle of a call, so there may have been one more than was remembered.
            attempts += 1
            mayHaveTakenEffect = true
            return proceed(now, despiteUnknownEffect: mayCallAgainAfterUnknownEffect)
        }
    }

    /// The store could not answer. Whatever became of the claim, it is settled before anything else is done with the command.
    mutating func notClaimed(using generator: inout some RandomNumberGenerator) -> Step {
        isInDoubt = true
        return .wait(storeBackoff(using: &generator))
    }

    /// A claim was given back, or was not the newest any more.
    ///
    /// - Parameter next: what was to follow.
    mutating func released(_ fencing: Fencing, then next: Step) -> Step {
        notes.told(with: fencing)
        // Whoever took the command over says how it ends. (Or an earlier release, whose answer did not arrive, forgot it:
        // then it is claimed as any other.)
        if fencing == .lost, case .end = next { return .claim }
        return next
    }

    /// How long to leave the store alone after it could not answer. Asking again is safe: every operation is.
    mutating func storeBackoff(using generator: inout some RandomNumberGenerator) -> Duration {
        storeFailures += 1
        return Self.storeRetry.delay(afterFailures: storeFailures, using: &generator)
    }

    /// - Parameter trouble: whose it is, where it looks like the whole org's.
    mutating func called(
        _ result: CallResult, trouble: LonelyRefusals.Trouble = .orgs, now: Moment,
        using generator: inout some RandomNumberGenerator
    ) -> Step {
        let requests = 1 + result.refusedRequests
        attempts += requests
        let verdict = self.verdict(on: result, of: command.key.kind, now)
        if let reason = orgTrouble(in: verdict) {
            switch trouble {
            case .perhapsItsOwn where reason == .configuration: return giveWay(requests, using: &generator)
            case .itsOwn where reason == .configuration: break
            case .orgs, .perhapsItsOwn, .itsOwn: return park(reason, verdict, requests, now)
            }
        }
        switch verdict {
        case .succeeded:
            return record(.succeeded, nil, now)
        case .nothingCleared:
            // After an attempt of unknown effect, "nothing there" is what that attempt was for.
            if mayHaveTakenEffect { return record(.succeeded, nil, now) }
            let error = CommandError(
                message: "there was no routing to clear", reason: CommandResult.nothingCleared)
            return record(.rejected, error, now)
        case .rejected(let error):
            return record(mayHaveTakenEffect ? .unknown : .rejected, error, now)
        case .transient(let error, let retryAfter):
            return retry(error, after: retryAfter, now, using: &generator)
        case .configuration(let error) where canPark:
            // Of those that come here, only something of the command's own is wrong.
            return record(mayHaveTakenEffect ? .unknown : .rejected, error, now)
        case .configuration(let error), .token(let error):
            return retry(error, after: nil, now, using: &generator)
        case .unknown(let error):
            mayHaveTakenEffect = true
            guard mayCallAgainAfterUnknownEffect else { return record(.unknown, error, now) }
            return retry(error, after: nil, now, using: &generator)
        }
    }

    /// The derived delete of the policy `clear-then-route` came back.
    mutating func cleared(
        _ result: CallResult, now: Moment, using generator: inout some RandomNumberGenerator
    ) -> Step {
        attempts += result.refusedRequests
        let verdict = self.verdict(on: result, of: .delete, now)
        if let reason = orgTrouble(in: verdict) {
            attempts += 1
            return park(reason, verdict, 1 + result.refusedRequests, now)
        }
        switch verdict {
        case .succeeded, .nothingCleared:
            mustClear = false
            return call(now)
        case .rejected(let error):
            return record(.unknown, error, now)
        case .transient(let error, let retryAfter):
            attempts += 1
            return retry(error, after: retryAfter, now, using: &generator)
        case .configuration(let error), .token(let error), .unknown(let error):
            attempts += 1
            return retry(error, after: nil, now, using: &generator)
        }
    }

    /// The org's trouble could not put the command aside: from now on what it meets counts as its own attempts.
    mutating func notParked(using generator: inout some RandomNumberGenerator) -> Step {
        canPark = false
        attempts += uncounted
        return .wait(policy.retry.backoff.delay(afterFailures: attempts, using: &generator))
    }

    mutating func recorded(_ fencing: Fencing, _ result: CommandResult) -> Step {
        switch fencing {
        case .held: .end(Ending(result: result, duplicate: false, replay: claim?.replay ?? command.replay))
        case .lost: claimAnew(for: result)
        }
    }

    // MARK: Decisions

    /// The lease ran out, or somebody took the command over: the claim's own nonce finds out which. What a newer holder
    /// made of the command is the truth.
    private mutating func claimAnew(for result: CommandResult) -> Step {
        unrecorded = result
        claim = nil
        nonce = claimNonce
        return .claim
    }

    /// Records a late result under the claim that was given anew. One that says that nothing took effect must give way
    /// when a newer holder's call may have.
    private mutating func recordLate(under result: ClaimResult) -> Step? {
        guard let late = unrecorded else { return nil }
        let claim: Claim
        let isContested: Bool
        switch result {
        case .acquired(let given), .superseded(let given): (claim, isContested) = (given, given.mayHaveTakenEffect)
        case .interrupted(let given): (claim, isContested) = (given, true)
        case .completed, .inProgress, .conflict: return nil
        }
        unrecorded = nil
        switch late.outcome {
        case .succeeded, .unknown: break
        case .rejected, .invalid, .conflict, .expired, .superseded, .exhausted:
            guard !isContested else { return nil }
        }
        adopt(claim)
        return .record(claim, late)
    }

    private static let lookAgain: Duration = .milliseconds(25)
    private static let lookAgainAtMost: Duration = .seconds(2)
    private static let storeRetry = Backoff(minimum: .milliseconds(100), maximum: .seconds(5))
    /// What is left of a lease when the call's time limit ends, for recording.
    private static let leaseMargin: Duration = .seconds(2)

    private mutating func adopt(_ claim: Claim) {
        self.claim = claim
        attempts = max(attempts, claim.attempts)
        mayHaveTakenEffect = mayHaveTakenEffect || claim.mayHaveTakenEffect
    }

    /// A claim is newly held: may there be a call?
    ///
    /// - Parameter despiteUnknownEffect: also when an earlier call may have taken effect. An operator's acceptance of a
    ///   second effect counts for a command that was reopened, not for one whose call was interrupted since.
    private mutating func proceed(_ now: Moment, despiteUnknownEffect: Bool) -> Step {
        if mayHaveTakenEffect {
            let error = CommandError(
                message: "an earlier call was interrupted; it may have taken effect", reason: "interrupted")
            guard despiteUnknownEffect else { return record(.unknown, error, now) }
            mustClear = policy.unknownEffect == .clearThenRoute && command.routingType == "Initial"
        }
        if delivery.earlierDeliveries >= delivery.deliveryLimit {
            let error = CommandError(
                message: "it was delivered \(delivery.earlierDeliveries + 1) times without coming to an end",
                reason: "too-many-deliveries")
            return record(mayHaveTakenEffect ? .unknown : .exhausted, error, now)
        }
        if attempts >= policy.retry.attempts {
            let error = CommandError(
                message: "\(attempts) calls were made, the budget of this org", reason: "attempts-exhausted")
            return record(mayHaveTakenEffect ? .unknown : .exhausted, error, now)
        }
        // Even a dead letter may be that of a success whose answer had nowhere to go, and its record is gone by then: the
        // operator who replays it must accept that it is called again.
        let isAcceptedReplay = command.replay > 0 && command.acceptsSecondEffect
        // Without an issue time it is as old as this worker knows; on its first delivery nobody can have called for it.
        let isDeliveredAgain = delivery.earlierDeliveries > 0
        if !isAcceptedReplay, let since = command.issuedAt ?? (isDeliveredAgain ? delivery.receivedAt : nil),
            now.wall - since >= delivery.retention
        {
            let late = (now.wall - since - delivery.retention).wholeMilliseconds
            let what = command.issuedAt == nil ? "received" : "issued"
            let error = CommandError(
                message: "\(what) \(late) ms longer ago than outcomes are kept, so a duplicate could no longer be told",
                reason: "older-than-retention")
            return expire(error, now)
        }
        return call(now)
    }

    private mutating func call(_ now: Moment) -> Step {
        var timeout = policy.callTimeout
        if let deadline = command.deadline {
            guard !isTooLate(now) else {
                let late = (now.wall - deadline).wholeMilliseconds
                let needed = policy.minimumCallTime.wholeMilliseconds
                let error = CommandError(
                    message: late > 0
                        ? "the deadline passed \(late) ms ago"
                        : "the deadline is in \(-late) ms and a call needs \(needed) ms",
                    reason: "deadline-passed")
                return expire(error, now)
            }
            timeout = min(timeout, deadline - now.wall)
        }
        let leaseLeft = leaseEnds - now.uptime - Self.leaseMargin
        // A claim that was in doubt was asked for whether there may be a call or not.
        guard !isInDoubt, leaseLeft >= min(timeout, policy.minimumCallTime) else { return release(then: .claim) }
        timeout = min(timeout, leaseLeft)
        notes.begins(now, isClearing: mustClear)
        return mustClear ? .clear(timeout: timeout) : .call(timeout: timeout)
    }

    /// Whether a call that starts now could not finish before the deadline.
    private func isTooLate(_ now: Moment) -> Bool {
        command.deadline.map { $0 - now.wall < policy.minimumCallTime } ?? false
    }

    /// Too late for a call. Where none was made, the RequestId stays free for a corrected command.
    private mutating func expire(_ error: CommandError, _ now: Moment) -> Step {
        if mayHaveTakenEffect { return record(.unknown, error, now) }
        if attempts > 0 { return record(.exhausted, error, now) }
        guard let claim else { preconditionFailure("only a claimed command is judged") }
        return .release(claim, .unbound, then: .end(ending(.expired, error, now)))
    }

    private mutating func retry(
        _ error: CommandError, after: Duration?, _ now: Moment, using generator: inout some RandomNumberGenerator
    ) -> Step {
        guard let startedAt else { preconditionFailure("only a claimed command is called for") }
        let delay = max(policy.retry.backoff.delay(afterFailures: attempts, using: &generator), after ?? .zero)
        let endsBudget = now.uptime + delay > startedAt + policy.retry.budget
        let endsDeadline = command.deadline.map { now.wall + delay + policy.minimumCallTime > $0 } ?? false
        if attempts >= policy.retry.attempts || endsBudget || endsDeadline {
            return record(mayHaveTakenEffect ? .unknown : .exhausted, error, now)
        }
        return release(then: .wait(delay))
    }

    /// What is wrong with the whole org, by what one call met.
    private func orgTrouble(in verdict: Verdict) -> ParkingReason? {
        guard canPark else { return nil }
        switch verdict {
        case .configuration(let error):
            // A probe with another context has just shown that the org is well: it is this command's own context.
            if error.code == Self.contextDoesNotFitToken, let proven = delivery.provenContext,
                proven != command.context
            {
                return nil
            }
            return .configuration
        case .token: return .token
        case .transient(let error, let retryAfter):
            if error.code == Self.readOnly { return .readOnly }
            return (retryAfter ?? .zero) >= ParkingReason.longestPoliteWait ? .busy : nil
        case .succeeded, .nothingCleared, .rejected, .unknown: return nil
        }
    }

    private static let contextDoesNotFitToken = 10005
    private static let readOnly = 10019

    /// The org's trouble is not the command's: what was refused whatever the command says does not count.
    ///
    /// - Parameter requests: how many attempts were counted for it.
    private mutating func park(
        _ reason: ParkingReason, _ verdict: Verdict, _ requests: Int, _ now: Moment
    ) -> Step {
        if case .transient(let error, _) = verdict, reason == .busy {
            guard attempts < policy.retry.attempts else {
                return record(mayHaveTakenEffect ? .unknown : .exhausted, error, now)
            }
            uncounted = 0
        } else {
            attempts -= requests
            uncounted = requests
        }
        return release(then: .park(reason))
    }

    /// Waits in its place while others are called for, who show whose trouble it is. As little as with the org's does it count.
    private mutating func giveWay(_ requests: Int, using generator: inout some RandomNumberGenerator) -> Step {
        attempts -= requests
        timesGivenWay += 1
        let backoff = policy.parking?.probe ?? policy.retry.backoff
        return release(then: .wait(backoff.delay(afterFailures: timesGivenWay, using: &generator)))
    }

    private mutating func release(then next: Step) -> Step {
        guard let claim else { preconditionFailure("only a claim held can be released") }
        self.claim = nil
        return .release(claim, .forRetry(attempts: attempts, mayHaveTakenEffect: mayHaveTakenEffect), then: next)
    }

    /// Clearing twice does no harm; routing twice puts two reps into one chat.
    private var mayCallAgainAfterUnknownEffect: Bool {
        if command.key.kind == .delete { return true }
        return switch policy.unknownEffect {
        case .report: false
        case .retry: true
        case .clearThenRoute: command.routingType == "Initial"
        }
    }

    private mutating func verdict(on result: CallResult, of kind: CommandKind, _ now: Moment) -> Verdict {
        let document = result.document
        switch result {
        // What the derived delete was told is not the command's answer.
        case _ where kind != command.key.kind: break
        case .answered(let answer):
            lastStatus = answer.status
            lastResponse = document.map { APIResponse($0) } ?? APIResponse(answer.body)
        case .notSent: break
        case .effectUnknown:
            lastStatus = nil
            lastResponse = nil
        }
        let verdict = Verdict(on: result, document, of: kind, now: now.wall)
        lastVerdict = verdict
        notes.ended(result, verdict, now)
        return verdict
    }

    private func record(_ outcome: Outcome, _ error: CommandError?, _ now: Moment) -> Step {
        guard let claim else { preconditionFailure("only a claimed command is recorded") }
        return .record(claim, result(outcome, error, now))
    }

    private func ending(_ outcome: Outcome, _ error: CommandError, _ now: Moment) -> Ending {
        Ending(result: result(outcome, error, now), duplicate: false, replay: command.replay)
    }

    private func result(_ outcome: Outcome, _ error: CommandError?, _ now: Moment) -> CommandResult {
        CommandResult(
            outcome: outcome, httpStatus: lastStatus, response: lastResponse, error: error, attempts: attempts,
            receivedAt: delivery.receivedAt, completedAt: now.wall, worker: delivery.worker)
    }
}

extension ClaimRequest {
    init(_ command: RouteCommand, lease: Duration, worker: String, nonce: UInt64? = nil) {
        self.init(
            key: command.key, fingerprint: command.fingerprint, conversation: command.conversation,
            issuedAt: command.issuedAt, replay: command.replay, acceptsSecondEffect: command.acceptsSecondEffect,
            lease: lease, worker: worker, nonce: nonce)
    }
}
