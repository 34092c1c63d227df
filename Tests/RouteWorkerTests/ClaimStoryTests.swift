// A command's life in the worker and its record in the store together: what several holders make of one command.

import IdempotencyStore
import InteractionAPI
import RoutingContract
import Testing

@testable import RouteWorker

@Suite struct ClaimStoryTests {
    private static let retention = Duration.seconds(3600)
    private static let key = CommandKey(
        org: OrgID("00D000000000001")!, kind: .route, request: RequestID("6f1c2a3e-0d4b-4c5a-9e8f-7a6b5c4d3e2f")!)

    private var random = SeededGenerator(seed: 1)
    private var record: CommandRecord?
    private var token: Int64 = 0
    private var keeping = Retention(succeeded: retention, failed: retention)

    private let lost = CallResult.effectUnknown(CallFailure(reason: "timeout", message: "no answer in time"))
    private let refused = CallResult.notSent(CallFailure(reason: "connect-failed", message: "connection refused"))
    private let succeeded = CallResult.answered(CallAnswer(status: 202, body: Array(#"{"success":true}"#.utf8)))
    private let rejected = CallResult.answered(
        CallAnswer(status: 400, body: Array(#"{"code":10024,"message":"no flow"}"#.utf8)))

    private func delivery(
        replay: Int = 0, acceptsSecondEffect: Bool = false, issuedAt: Timestamp? = nil, receivedAt: Double = 0,
        deadline: Timestamp? = nil, earlierDeliveries: Int = 0, policy: OrgPolicy = OrgPolicy()
    ) -> CommandProgress {
        let command = RouteCommand(
            key: Self.key, context: "P_C", conversation: "c1", routingType: "Initial", payload: Array("{}".utf8),
            fingerprint: Fingerprint(bytes: Array(repeating: 7, count: 32)), issuedAt: issuedAt, deadline: deadline,
            replay: replay, acceptsSecondEffect: acceptsSecondEffect)
        return CommandProgress(
            command: command, policy: policy,
            delivery: .init(
                receivedAt: at(receivedAt).wall, earlierDeliveries: earlierDeliveries, worker: "w",
                lease: .seconds(60), retention: Self.retention, deliveryLimit: 100),
            nonce: UInt64(bitPattern: token) << 32)
    }

    private func at(_ seconds: Double) -> Moment {
        Moment(
            wall: Timestamp(milliseconds: 1000 + Int64(seconds * 1000)), uptime: .milliseconds(Int64(seconds * 1000)))
    }

    private mutating func ask(_ progress: CommandProgress, at seconds: Double) -> ClaimResult {
        token += 1
        return CommandRecord.claim(
            progress.claimRequest(at(seconds)), finding: &record, latestDelete: nil, token: token,
            at: at(seconds).wall, keeping: keeping
        ).result
    }

    private mutating func claim(_ progress: inout CommandProgress, at seconds: Double) -> CommandProgress.Step {
        let result = ask(progress, at: seconds)
        return progress.claimed(result, askedAt: at(seconds), now: at(seconds))
    }

    @discardableResult
    private mutating func release(
        _ progress: inout CommandProgress, _ step: CommandProgress.Step, at seconds: Double
    ) -> CommandProgress.Step? {
        guard case .release(let claim, let release, let next) = step else {
            Issue.record("not released: \(step)")
            return nil
        }
        let decision = CommandRecord.release(
            progress.telling(claim), as: release, finding: &record, at: at(seconds).wall, keeping: keeping)
        return progress.released(decision == .lost ? .lost : .held, then: next)
    }

    /// Records what the step says, and returns how the delivery ends.
    private mutating func record(
        _ progress: inout CommandProgress, _ step: CommandProgress.Step, at seconds: Double
    ) -> Ending? {
        guard case .record(let claim, let result) = step else { Issue.record("not recorded: \(step)"); return nil }
        let decision = CommandRecord.record(
            result, under: progress.telling(claim), finding: &record, at: at(seconds).wall, keeping: keeping)
        guard case .end(let ending) = progress.recorded(decision == .lost ? .lost : .held, result) else { return nil }
        return ending
    }

    /// Ends of unknown effect, and is replayed by an operator who accepts one more.
    private mutating func replayedInMidCall() {
        var first = delivery()
        _ = claim(&first, at: 0)
        #expect(record(&first, first.called(lost, now: at(1), using: &random), at: 1)?.result.outcome == .unknown)
        var replay = delivery(replay: 1, acceptsSecondEffect: true)
        #expect(claim(&replay, at: 10) == .call(timeout: .seconds(10)))
        // And the worker is gone.
    }

    @Test mutating func theAcceptanceOfASecondEffectIsNoneOfAThird() {
        replayedInMidCall()
        var again = delivery(replay: 1, acceptsSecondEffect: true)
        #expect(record(&again, claim(&again, at: 100), at: 100)?.result.outcome == .unknown)
    }

    @Test mutating func norIsItWhereTheAnswerToTheClaimWasLost() {
        replayedInMidCall()
        var again = delivery(replay: 1, acceptsSecondEffect: true)
        // The store has it, and the asker does not know.
        _ = ask(again, at: 100)
        #expect(record(&again, claim(&again, at: 101), at: 101)?.result.outcome == .unknown)
    }

    @Test mutating func norWhereAClaimThatNobodyWaitedForWasGivenBack() {
        replayedInMidCall()
        var again = delivery(replay: 1, acceptsSecondEffect: true)
        guard case .interrupted(let given) = ask(again, at: 100) else { Issue.record("not interrupted"); return }
        _ = CommandRecord.release(
            given, as: .forRetry(attempts: given.attempts, mayHaveTakenEffect: given.mayHaveTakenEffect),
            finding: &record, at: at(101).wall, keeping: keeping)
        #expect(record(&again, claim(&again, at: 102), at: 102)?.result.outcome == .unknown)
    }

    @Test mutating func theAcceptanceLastsThroughRetriesThatDidNotReachSalesforce() {
        var first = delivery()
        _ = claim(&first, at: 0)
        _ = record(&first, first.called(lost, now: at(1), using: &random), at: 1)
        var replay = delivery(replay: 1, acceptsSecondEffect: true)
        _ = claim(&replay, at: 10)
        release(&replay, replay.called(refused, now: at(11), using: &random), at: 11)
        #expect(claim(&replay, at: 12) == .call(timeout: .seconds(10)))
    }

    /// Its dead letter would otherwise be replayed under a count that opens nothing any more.
    @Test mutating func whatAnOlderCopyRecordsCountsForTheReplayThatOpenedIt() {
        var first = delivery()
        _ = claim(&first, at: 0)
        _ = record(&first, first.called(rejected, now: at(1), using: &random), at: 1)
        var replay = delivery(replay: 1)
        _ = claim(&replay, at: 10)
        release(&replay, replay.called(refused, now: at(11), using: &random), at: 11)
        var copy = delivery()
        _ = claim(&copy, at: 12)
        let ending = record(&copy, copy.called(rejected, now: at(13), using: &random), at: 13)
        #expect(ending?.replay == 1)
        guard case .end(let repeated) = claim(&replay, at: 14) else { Issue.record("not repeated"); return }
        #expect(repeated.duplicate && repeated.replay == ending?.replay)
        var next = delivery(replay: (ending?.replay ?? 0) + 1)
        #expect(claim(&next, at: 20) == .call(timeout: .seconds(10)))
    }

    /// The worker was suspended, and another one had the command meanwhile.
    @Test mutating func whoTookAnExpiredCommandOverSaysHowItEnds() {
        let deadline = at(90).wall
        var suspended = delivery(deadline: deadline)
        let given = ask(suspended, at: 0)
        var other = delivery(deadline: deadline, policy: OrgPolicy(unknownEffect: .retry))
        #expect(claim(&other, at: 70) == .call(timeout: .seconds(10)))
        #expect(record(&other, other.called(succeeded, now: at(71), using: &random), at: 71) != nil)
        let step = suspended.claimed(given, askedAt: at(0), now: at(100))
        #expect(release(&suspended, step, at: 100) == .claim)
        guard case .end(let ending) = claim(&suspended, at: 100) else { Issue.record("not repeated"); return }
        #expect(ending.duplicate && ending.result.outcome == .succeeded)
    }

    /// The first try to give the claim back forgot the command, and its answer did not arrive.
    @Test mutating func anExpiredCommandThatIsForgottenAlreadyExpiresOnceMore() {
        var progress = delivery(deadline: at(40).wall)
        let step = claim(&progress, at: 50)
        var unheard = progress
        release(&unheard, step, at: 50)
        #expect(record == nil)
        #expect(release(&progress, step, at: 51) == .claim)
        guard case .end(let ending)? = release(&progress, claim(&progress, at: 51), at: 51) else {
            Issue.record("not ended")
            return
        }
        #expect(ending.result.outcome == .expired && record == nil)
    }

    /// A platform reads there what became of its route.
    @Test mutating func whatTheDerivedDeleteWasToldIsNotTheRoutesAnswer() {
        var policy = OrgPolicy(unknownEffect: .clearThenRoute)
        policy.retry.attempts = 2
        var progress = delivery(policy: policy)
        _ = claim(&progress, at: 0)
        release(&progress, progress.called(lost, now: at(1), using: &random), at: 1)
        guard case .clear = claim(&progress, at: 2) else { Issue.record("not cleared"); return }
        let cleared = CallResult.answered(CallAnswer(status: 202, body: Array(#"{"success":true}"#.utf8)))
        guard case .call = progress.cleared(cleared, now: at(3), using: &random) else {
            Issue.record("not called")
            return
        }
        guard case .record(_, let result) = progress.called(refused, now: at(4), using: &random) else {
            Issue.record("not recorded")
            return
        }
        #expect(result.outcome == .unknown && result.httpStatus == nil && result.response == nil)
    }

    /// The issuer's clock is ahead as far as it may be; a duplicate comes at the moment at which the outcome is forgotten.
    @Test(arguments: [Duration.zero, .seconds(300)])
    mutating func whatIsForgottenIsTooOldToBeCalledFor(ahead: Duration) throws {
        keeping = Retention(succeeded: Self.retention, failed: Self.retention, futureTolerance: ahead)
        let issuedAt = at(0).wall + ahead
        var first = delivery(issuedAt: issuedAt)
        _ = claim(&first, at: 0)
        _ = record(&first, first.called(rejected, now: at(0), using: &random), at: 0)
        let forgotten = try #require(record).keepUntil
        let moment = Double((forgotten - at(0).wall).wholeMilliseconds) / 1000
        record = nil
        var duplicate = delivery(issuedAt: issuedAt, receivedAt: moment)
        guard case .release(_, .unbound, .end(let ending)) = claim(&duplicate, at: moment) else {
            Issue.record("called again")
            return
        }
        #expect(ending.result.outcome == .expired)
    }

    /// It may have been called for by whoever had it before, and nobody remembers.
    @Test mutating func whatWasDeliveredBeforeAndParkedForLongerThanOutcomesAreKeptIsTooOld() {
        var again = delivery(earlierDeliveries: 1)
        guard case .release(_, .unbound, .end(let ending)) = claim(&again, at: 3700) else {
            Issue.record("called again")
            return
        }
        #expect(ending.result.error?.reason == "older-than-retention")
        record = nil
        var first = delivery()
        #expect(claim(&first, at: 3700) == .call(timeout: .seconds(10)))
    }
}
