// Transcripts of one command's life: what happened, what is done next.

import IdempotencyStore
import InteractionAPI
import RoutingContract
import Testing

@testable import RouteWorker

@Suite struct CommandProgressTests {
    static let org = OrgID("00D000000000001")!
    let key = CommandKey(
        org: CommandProgressTests.org, kind: .route, request: RequestID("6f1c2a3e-0d4b-4c5a-9e8f-7a6b5c4d3e2f")!)
    var random = SeededGenerator(seed: 1)

    private func progress(
        _ kind: CommandKind = .route, policy: OrgPolicy = OrgPolicy(), deadline: Timestamp? = nil,
        issuedAt: Timestamp? = nil, routingType: String = "Initial", earlierDeliveries: Int = 0, parks: Bool = false,
        provenContext: String? = nil, replay: Int = 0, acceptsSecondEffect: Bool = false
    ) -> CommandProgress {
        let command = RouteCommand(
            key: CommandKey(org: Self.org, kind: kind, request: key.request), context: "P_C", conversation: "c1",
            routingType: kind == .route ? routingType : nil, payload: Array("{}".utf8),
            fingerprint: Fingerprint(bytes: Array(repeating: 7, count: 32)), issuedAt: issuedAt, deadline: deadline,
            replay: replay, acceptsSecondEffect: acceptsSecondEffect)
        return CommandProgress(
            command: command, policy: policy,
            delivery: .init(
                receivedAt: Timestamp(milliseconds: 1000), earlierDeliveries: earlierDeliveries, worker: "w",
                lease: .seconds(60), retention: .seconds(3600), deliveryLimit: 100, parks: parks,
                provenContext: provenContext),
            nonce: 42)
    }

    private func at(_ seconds: Double) -> Moment {
        Moment(
            wall: Timestamp(milliseconds: 1000 + Int64(seconds * 1000)), uptime: .milliseconds(Int64(seconds * 1000)))
    }

    private func claim(_ token: Int64 = 1, attempts: Int = 0, mayHaveTakenEffect: Bool = false) -> Claim {
        Claim(key: key, token: token, attempts: attempts, mayHaveTakenEffect: mayHaveTakenEffect)
    }

    private func answer(_ status: Int, _ body: String) -> CallResult {
        .answered(CallAnswer(status: status, body: Array(body.utf8)))
    }

    private let accepted = #"{"success":true,"psrId":"0JR000000000001"}"#
    private let lost = CallResult.effectUnknown(CallFailure(reason: "timeout", message: "no answer in time"))
    private let refused = CallResult.notSent(CallFailure(reason: "connect-failed", message: "connection refused"))

    /// The outcome in a `record` or `end` step.
    private func outcome(_ step: CommandProgress.Step) -> Outcome? {
        switch step {
        case .record(_, let result): result.outcome
        case .end(let ending): ending.result.outcome
        case .release(_, _, let next): outcome(next)
        case .claim, .call, .clear, .wait, .park: nil
        }
    }

    private func isWaitAfterRelease(_ step: CommandProgress.Step, attempts: Int, mayHaveTakenEffect: Bool) -> Bool {
        guard case .release(_, let release, .wait) = step else { return false }
        return release == .forRetry(attempts: attempts, mayHaveTakenEffect: mayHaveTakenEffect)
    }

    /// Its duplicates are answered from what the store has kept of it, which is bytes.
    @Test(arguments: [#"{"success":true}"#, "gone", ""])
    mutating func anAnswerThatCouldNotBeReadIsToldAsItWillBeToldAgain(body: String) throws {
        var progress = progress()
        _ = progress.claimed(.acquired(claim()), askedAt: at(0), now: at(0))
        let answer = CallAnswer(status: 200, body: Array(body.utf8), bodyIsUnreadable: true)
        let step = progress.called(.answered(answer), now: at(1), using: &random)
        guard case .record(_, let result) = step else { Issue.record("not recorded: \(step)"); return }
        #expect(try ResultCodec.decode(ResultCodec.encode(result)) == result)
    }

    @Test mutating func aRouteIsClaimedCalledRecordedAndEnds() {
        var progress = progress()
        #expect(progress.claimed(.acquired(claim()), askedAt: at(0), now: at(0)) == .call(timeout: .seconds(10)))
        let step = progress.called(answer(202, accepted), now: at(1), using: &random)
        guard case .record(let held, let result) = step else { Issue.record("not recorded: \(step)"); return }
        #expect(held == claim() && result.outcome == .succeeded && result.attempts == 1 && result.httpStatus == 202)
        #expect(
            progress.recorded(.held, result) == .end(Ending(result: result, duplicate: false, replay: 0)))
    }

    @Test mutating func aRequestRefusedForItsTokenCountsAsAnAttempt() {
        var progress = progress()
        _ = progress.claimed(.acquired(claim()), askedAt: at(0), now: at(0))
        var second = answer(202, accepted)
        second.refusedRequests = 1
        let step = progress.called(second, now: at(1), using: &random)
        guard case .record(_, let result) = step else { Issue.record("not recorded: \(step)"); return }
        #expect(result.outcome == .succeeded && result.attempts == 2)
    }

    @Test mutating func aCompletedCommandIsRepeatedWithoutACall() {
        var progress = progress(deadline: at(-10).wall)
        let result = CommandResult(
            outcome: .succeeded, receivedAt: at(0).wall, completedAt: at(0).wall, worker: "other")
        // Its deadline passed long ago: a command that succeeded stays succeeded.
        #expect(
            progress.claimed(.completed(result, replay: 2), askedAt: at(0), now: at(0))
                == .end(Ending(result: result, duplicate: true, replay: 2)))
    }

    @Test mutating func aTransientAnswerReleasesTheClaimAndClaimsAgain() {
        var progress = progress()
        _ = progress.claimed(.acquired(claim()), askedAt: at(0), now: at(0))
        let step = progress.called(answer(503, #"{"code":10056,"message":"aborted"}"#), now: at(1), using: &random)
        #expect(isWaitAfterRelease(step, attempts: 1, mayHaveTakenEffect: false))
        #expect(
            progress.claimed(.acquired(claim(2, attempts: 1)), askedAt: at(2), now: at(2))
                == .call(timeout: .seconds(10)))
        #expect(outcome(progress.called(answer(202, accepted), now: at(3), using: &random)) == .succeeded)
        #expect(progress.attempts == 2)
    }

    @Test mutating func theStoreIsToldOfEachCallOnce() {
        var progress = progress()
        _ = progress.claimed(.acquired(claim()), askedAt: at(0), now: at(0))
        _ = progress.called(answer(503, #"{"code":10056,"message":"aborted"}"#), now: at(1), using: &random)
        let first = CallNote(
            startedAt: at(0).wall, duration: .seconds(1), end: .answered(status: 503), code: 10056,
            reason: progress.lastVerdict?.error?.reason ?? "")
        #expect(progress.telling(claim()).calls == [first])
        // Whether a release that was lost told them is not known; the next claim tells them again.
        _ = progress.released(.lost, then: .claim)
        #expect(progress.claimRequest(at(2)).untoldCalls == [first])
        _ = progress.claimed(.inProgress(.seconds(9)), askedAt: at(2), now: at(2))
        #expect(progress.claimRequest(at(3)).untoldCalls == [first])
        _ = progress.claimed(.acquired(claim(2, attempts: 1)), askedAt: at(3), now: at(3))
        _ = progress.called(refused, now: at(4), using: &random)
        let second = CallNote(startedAt: at(3).wall, duration: .seconds(1), end: .notSent, reason: "connect-failed")
        #expect(progress.telling(claim(2)).calls == [second])
        _ = progress.released(.held, then: .claim)
        #expect(progress.claimRequest(at(5)).untoldCalls.isEmpty)
    }

    @Test mutating func retryAfterIsTheLeastThatIsWaited() {
        var progress = progress()
        _ = progress.claimed(.acquired(claim()), askedAt: at(0), now: at(0))
        let busy = CallResult.answered(CallAnswer(status: 429, body: [], retryAfter: "30"))
        guard case .release(_, _, .wait(let delay)) = progress.called(busy, now: at(1), using: &random) else {
            Issue.record("429 was not retried")
            return
        }
        #expect(delay == .seconds(30))
    }

    @Test mutating func transientFailuresOutlastTheBudget() {
        var progress = progress(policy: OrgPolicy(retry: RetryPolicy(attempts: 2)))
        _ = progress.claimed(.acquired(claim()), askedAt: at(0), now: at(0))
        _ = progress.called(refused, now: at(1), using: &random)
        _ = progress.claimed(.acquired(claim(2, attempts: 1)), askedAt: at(2), now: at(2))
        #expect(outcome(progress.called(refused, now: at(3), using: &random)) == .exhausted)
    }

    @Test mutating func theBudgetCountsElapsedTime() {
        var progress = progress(policy: OrgPolicy(retry: RetryPolicy(budget: .seconds(5))))
        _ = progress.claimed(.acquired(claim()), askedAt: at(0), now: at(0))
        #expect(outcome(progress.called(refused, now: at(6), using: &random)) == .exhausted)
    }

    @Test mutating func aRouteOfUnknownEffectIsReportedAndNotCalledAgain() {
        var progress = progress()
        _ = progress.claimed(.acquired(claim()), askedAt: at(0), now: at(0))
        #expect(outcome(progress.called(lost, now: at(10), using: &random)) == .unknown)
    }

    @Test mutating func anInterruptedRouteIsReportedWithoutACall() {
        var progress = progress()
        #expect(outcome(progress.claimed(.interrupted(claim(2)), askedAt: at(0), now: at(0))) == .unknown)
        #expect(progress.attempts == 1)
    }

    @Test mutating func anInterruptedDeleteIsCalledAgain() {
        var progress = progress(.delete)
        #expect(
            progress.claimed(.interrupted(claim(2)), askedAt: at(0), now: at(0)) == .call(timeout: .seconds(10)))
        // Nothing there to clear any more is what the interrupted one was for.
        #expect(outcome(progress.called(answer(202, #"{"success":false}"#), now: at(1), using: &random)) == .succeeded)
    }

    @Test mutating func aDeleteThatFindsNothingIsAnsweredWithoutADeadLetter() {
        var progress = progress(.delete)
        _ = progress.claimed(.acquired(claim()), askedAt: at(0), now: at(0))
        guard
            case .record(_, let result) = progress.called(
                answer(202, #"{"success":false}"#), now: at(1), using: &random)
        else { Issue.record("not recorded"); return }
        #expect(result.outcome == .rejected && result.error?.reason == CommandResult.nothingCleared)
        #expect(!result.needsDeadLetter)
    }

    @Test(arguments: [#"{"code":10018,"message":"bad"}"#, #"{"code":10024,"message":"bad"}"#])
    func afterAnUnknownAttemptARefusalIsStillUnknown(body: String) {
        var random = SeededGenerator(seed: 2)
        var progress = progress(policy: OrgPolicy(unknownEffect: .retry))
        _ = progress.claimed(.acquired(claim()), askedAt: at(0), now: at(0))
        #expect(
            isWaitAfterRelease(progress.called(lost, now: at(1), using: &random), attempts: 1, mayHaveTakenEffect: true)
        )
        _ = progress.claimed(
            .acquired(claim(2, attempts: 1, mayHaveTakenEffect: true)), askedAt: at(2), now: at(2))
        #expect(outcome(progress.called(answer(400, body), now: at(3), using: &random)) == .unknown)
    }

    @Test mutating func clearThenRouteClearsBeforeTheSecondCall() {
        var progress = progress(policy: OrgPolicy(unknownEffect: .clearThenRoute))
        _ = progress.claimed(.acquired(claim()), askedAt: at(0), now: at(0))
        #expect(
            isWaitAfterRelease(progress.called(lost, now: at(1), using: &random), attempts: 1, mayHaveTakenEffect: true)
        )
        let again = claim(2, attempts: 1, mayHaveTakenEffect: true)
        #expect(progress.claimed(.acquired(again), askedAt: at(2), now: at(2)) == .clear(timeout: .seconds(10)))
        #expect(
            progress.cleared(answer(202, #"{"success":true}"#), now: at(3), using: &random)
                == .call(timeout: .seconds(10)))
        #expect(outcome(progress.called(answer(202, accepted), now: at(4), using: &random)) == .succeeded)
    }

    @Test mutating func aClearingThatWasRefusedForItsTokenCountsAsAnAttempt() {
        var progress = progress(policy: OrgPolicy(unknownEffect: .clearThenRoute))
        let again = claim(2, attempts: 1, mayHaveTakenEffect: true)
        _ = progress.claimed(.acquired(again), askedAt: at(0), now: at(0))
        var cleared = answer(202, #"{"success":true}"#)
        cleared.refusedRequests = 1
        _ = progress.cleared(cleared, now: at(1), using: &random)
        #expect(progress.attempts == 2)
        // The whole org's trouble is not the command's, refused requests and all.
        var misfit = answer(403, #"{"code":10003}"#)
        misfit.refusedRequests = 1
        var other = self.progress(policy: OrgPolicy(unknownEffect: .clearThenRoute), parks: true)
        _ = other.claimed(.acquired(again), askedAt: at(0), now: at(0))
        #expect(parked(other.cleared(misfit, now: at(1), using: &random)) != nil)
        #expect(other.attempts == 1)
    }

    @Test mutating func aTokenThatIsSoonReplacedIsWaitedFor() {
        let notYet = CallResult.notSent(
            CallFailure(reason: CallFailure.Reason.tokenNotYet, message: "too early", retryAfter: .seconds(4)))
        var progress = progress(parks: true)
        _ = progress.claimed(.acquired(claim()), askedAt: at(0), now: at(0))
        let step = progress.called(notYet, now: at(1), using: &random)
        guard case .release(_, _, then: .wait(let wait)) = step else { Issue.record("does not wait: \(step)"); return }
        #expect(wait >= .seconds(4))
    }

    @Test mutating func clearThenRouteReportsTransfers() {
        var progress = progress(policy: OrgPolicy(unknownEffect: .clearThenRoute), routingType: "Transfer")
        _ = progress.claimed(.acquired(claim()), askedAt: at(0), now: at(0))
        #expect(outcome(progress.called(lost, now: at(1), using: &random)) == .unknown)
    }

    @Test mutating func aLateCommandExpiresAndLeavesItsRequestIdFree() {
        var progress = progress(deadline: at(5).wall)
        let step = progress.claimed(.acquired(claim()), askedAt: at(7), now: at(7))
        guard case .release(claim(), .unbound, then: .end(let ending)) = step else {
            Issue.record("not released: \(step)")
            return
        }
        #expect(ending.result.outcome == .expired)
        #expect(ending.result.error?.message.contains("2000 ms ago") == true)
    }

    @Test mutating func aCallEndsBeforeTheDeadline() {
        var progress = progress(deadline: at(5).wall)
        #expect(progress.claimed(.acquired(claim()), askedAt: at(2), now: at(2)) == .call(timeout: .seconds(3)))
    }

    @Test mutating func noCallIsStartedThatCouldNotFinish() {
        var progress = progress(deadline: at(5).wall)
        #expect(outcome(progress.claimed(.acquired(claim()), askedAt: at(4.5), now: at(4.5))) == .expired)
    }

    @Test mutating func aDeadlineThatPassesBetweenAttemptsIsExhausted() {
        var progress = progress(deadline: at(5).wall)
        _ = progress.claimed(.acquired(claim()), askedAt: at(0), now: at(0))
        _ = progress.called(refused, now: at(1), using: &random)
        #expect(outcome(progress.claimed(.acquired(claim(2, attempts: 1)), askedAt: at(6), now: at(6))) == .exhausted)
    }

    @Test mutating func acommandOlderThanTheRetentionExpires() {
        var progress = progress(issuedAt: at(0).wall)
        let step = progress.claimed(.acquired(claim()), askedAt: at(3700), now: at(3700))
        #expect(outcome(step) == .expired)
        guard case .release(_, .unbound, .end(let ending)) = step else { Issue.record("\(step)"); return }
        #expect(ending.result.error?.message.contains("issued 100000 ms longer ago") == true)
    }

    @Test mutating func anOldReplayIsCalledWhenASecondEffectIsAccepted() {
        var refused = progress(issuedAt: at(0).wall, replay: 1)
        #expect(outcome(refused.claimed(.acquired(claim()), askedAt: at(3700), now: at(3700))) == .expired)
        var accepted = progress(issuedAt: at(0).wall, replay: 1, acceptsSecondEffect: true)
        #expect(
            accepted.claimed(.acquired(claim()), askedAt: at(3700), now: at(3700)) == .call(timeout: .seconds(10)))
        var first = progress(issuedAt: at(0).wall, acceptsSecondEffect: true)
        #expect(outcome(first.claimed(.acquired(claim()), askedAt: at(3700), now: at(3700))) == .expired)
    }

    @Test mutating func aCallNeverOutlastsItsLease() {
        var progress = progress(policy: OrgPolicy(callTimeout: .seconds(30)))
        // The claim took 50 of its 60 seconds to arrive; two are kept for recording.
        #expect(progress.claimed(.acquired(claim()), askedAt: at(0), now: at(50)) == .call(timeout: .seconds(8)))
    }

    @Test mutating func aLeaseThatIsAllButOverIsGivenBack() {
        var progress = progress()
        let step = progress.claimed(.acquired(claim()), askedAt: at(0), now: at(58))
        #expect(step == .release(claim(), .forRetry(attempts: 0, mayHaveTakenEffect: false), then: .claim))
    }

    @Test mutating func whoeverLostTheClaimAsksAgain() {
        var progress = progress()
        _ = progress.claimed(.acquired(claim()), askedAt: at(0), now: at(0))
        guard case .record(_, let result) = progress.called(answer(202, accepted), now: at(1), using: &random) else {
            Issue.record("not recorded")
            return
        }
        #expect(progress.recorded(.lost, result) == .claim)
    }

    /// A call that succeeded after its lease: what is asked for then.
    private mutating func lateSuccess(_ kind: CommandKind = .route) -> (CommandProgress, CommandResult)? {
        var progress = progress(kind)
        let nonce = progress.claimRequest(at(0)).nonce
        _ = progress.claimed(.acquired(claim()), askedAt: at(0), now: at(0))
        guard case .record(_, let result) = progress.called(answer(202, accepted), now: at(70), using: &random),
            progress.recorded(.lost, result) == .claim
        else { return nil }
        let again = progress.claimRequest(at(70))
        #expect(again.nonce == nonce && progress.mustClaim)
        #expect(again.callsMade == CallsMade(attempts: 1, mayHaveTakenEffect: true))
        #expect(again.untoldCalls.map(\.end) == [.answered(status: 202)])
        return (progress, result)
    }

    @Test mutating func aLateResultIsRecordedUnderTheClaimGivenAnew() throws {
        var (progress, result) = try #require(lateSuccess())
        let again = claim(2, attempts: 1, mayHaveTakenEffect: true)
        #expect(progress.claimed(.acquired(again), askedAt: at(70), now: at(70)) == .record(again, result))
        #expect(!progress.mustClaim && progress.claimRequest(at(71)).callsMade == nil)
        #expect(progress.telling(again).calls.isEmpty)
        #expect(progress.recorded(.held, result) == .end(Ending(result: result, duplicate: false, replay: 0)))
    }

    @Test mutating func aLateResultGivesWayToWhatANewerHolderRecorded() throws {
        var (progress, _) = try #require(lateSuccess())
        guard case .wait = progress.claimed(.inProgress(.seconds(9)), askedAt: at(70), now: at(70)) else {
            Issue.record("did not wait for the newer holder")
            return
        }
        let theirs = CommandResult(
            outcome: .unknown, receivedAt: at(0).wall, completedAt: at(71).wall, worker: "other")
        #expect(
            progress.claimed(.completed(theirs, replay: 0), askedAt: at(72), now: at(72))
                == .end(Ending(result: theirs, duplicate: true, replay: 0)))
    }

    @Test mutating func aLateSuccessIsTrueAlsoAfterANewerHolderWasInterrupted() throws {
        var (progress, result) = try #require(lateSuccess())
        #expect(
            progress.claimed(.interrupted(claim(3)), askedAt: at(140), now: at(140)) == .record(claim(3), result))
    }

    @Test mutating func aLateRefusalGivesWayToAPossibleEffectOfANewerHolder() throws {
        for (given, expected) in [
            (ClaimResult.acquired(claim(2, attempts: 1)), Outcome.rejected), (.interrupted(claim(3)), .unknown),
            (.acquired(claim(3, attempts: 2, mayHaveTakenEffect: true)), .unknown),
        ] {
            var progress = progress()
            _ = progress.claimed(.acquired(claim()), askedAt: at(0), now: at(0))
            let step = progress.called(answer(400, #"{"code":10001,"message":"no"}"#), now: at(70), using: &random)
            guard case .record(_, let result) = step else { Issue.record("not recorded: \(step)"); return }
            #expect(result.outcome == .rejected && progress.recorded(.lost, result) == .claim)
            #expect(progress.claimRequest(at(70)).callsMade == CallsMade(attempts: 1, mayHaveTakenEffect: false))
            #expect(outcome(progress.claimed(given, askedAt: at(70), now: at(70))) == expected)
        }
    }

    @Test mutating func whileSomebodyElseCallsTheLaneLooksAgain() {
        var progress = progress()
        var last = Duration.zero
        for _ in 0..<20 {
            guard case .wait(let delay) = progress.claimed(.inProgress(.seconds(30)), askedAt: at(0), now: at(0)) else {
                Issue.record("did not wait")
                return
            }
            #expect(delay >= last && delay <= .seconds(2))
            last = delay
        }
    }

    @Test mutating func aClaimAskedForAgainAfterAStoreErrorKeepsItsNonce() {
        var progress = progress()
        let first = progress.claimRequest(at(0))
        _ = progress.notClaimed(using: &random)
        #expect(progress.claimRequest(at(1)) == first)
        _ = progress.claimed(.inProgress(.seconds(1)), askedAt: at(1), now: at(1))
        _ = progress.claimed(.inProgress(.seconds(1)), askedAt: at(2), now: at(2))
        #expect(progress.claimRequest(at(3)).nonce != first.nonce)
    }

    /// Whoever has the command next could not tell it from one under which a call was begun.
    @Test mutating func aClaimInDoubtIsGivenBackBeforeAnythingElse() {
        var progress = progress()
        let first = progress.claimRequest(at(0))
        #expect(!progress.mustClaim)
        guard case .wait = progress.notClaimed(using: &random) else { Issue.record("not asked again"); return }
        #expect(progress.mustClaim)
        let release = Release.forRetry(attempts: 0, mayHaveTakenEffect: false)
        #expect(
            progress.claimed(.acquired(claim()), askedAt: at(1), now: at(1))
                == .release(claim(), release, then: .claim))
        #expect(!progress.mustClaim)
        // What was asked for first may still come about.
        #expect(progress.claimRequest(at(2)).nonce == first.nonce)
        #expect(progress.claimed(.acquired(claim(3)), askedAt: at(2), now: at(2)) == .call(timeout: .seconds(10)))
        #expect(progress.claimRequest(at(3)).nonce != first.nonce)
    }

    @Test mutating func anExpiredDeleteLeavesNoMark() {
        let progress = progress(.delete, deadline: at(5).wall, issuedAt: at(0).wall)
        #expect(progress.claimRequest(at(1)).issuedAt == at(0).wall)
        #expect(progress.claimRequest(at(6)).issuedAt == nil)
    }

    @Test mutating func aConflictIsAnsweredAtOnce() {
        var progress = progress()
        #expect(outcome(progress.claimed(.conflict, askedAt: at(0), now: at(0))) == .conflict)
    }

    @Test mutating func aSupersededRouteIsRecordedWithoutACall() {
        var progress = progress()
        let step = progress.claimed(.superseded(claim()), askedAt: at(0), now: at(0))
        guard case .record(_, let result) = step else { Issue.record("not recorded"); return }
        #expect(result.outcome == .superseded && result.attempts == 0 && !result.needsDeadLetter)
    }

    @Test mutating func aCommandDeliveredTooOftenIsEndedByTheWorker() {
        var progress = progress(earlierDeliveries: 100)
        #expect(outcome(progress.claimed(.acquired(claim()), askedAt: at(0), now: at(0))) == .exhausted)
    }

    // MARK: Trouble of the whole org

    private func parked(_ step: CommandProgress.Step) -> (ParkingReason, attempts: Int)? {
        guard case .release(_, .forRetry(let attempts, _), .park(let reason)) = step else { return nil }
        return (reason, attempts)
    }

    @Test mutating func troubleOfTheOrgParksAndIsNoAttempt() throws {
        let noToken = CallResult.notSent(CallFailure(reason: CallFailure.Reason.tokenUnavailable, message: "none"))
        let troubles: [(CallResult, ParkingReason)] = [
            (noToken, .token), (answer(401, "{}"), .token), (answer(403, #"{"code":10003}"#), .configuration),
            (answer(403, #"{"code":10005}"#), .configuration), (answer(503, #"{"code":10019}"#), .readOnly),
        ]
        for (result, reason) in troubles {
            var progress = progress(parks: true)
            _ = progress.claimed(.acquired(claim(attempts: 3)), askedAt: at(0), now: at(0))
            let found = try #require(parked(progress.called(result, now: at(1), using: &random)))
            #expect(found.0 == reason && found.attempts == 3)
        }
    }

    @Test mutating func aLongPauseAskedForParksAndCounts() throws {
        let busy = CallResult.answered(CallAnswer(status: 503, body: [], retryAfter: "120"))
        var progress = progress(parks: true)
        _ = progress.claimed(.acquired(claim()), askedAt: at(0), now: at(0))
        let found = try #require(parked(progress.called(busy, now: at(1), using: &random)))
        #expect(found.0 == .busy && found.attempts == 1)
        var short = self.progress(parks: true)
        _ = short.claimed(.acquired(claim()), askedAt: at(0), now: at(0))
        let polite = CallResult.answered(CallAnswer(status: 503, body: [], retryAfter: "2"))
        #expect(
            isWaitAfterRelease(short.called(polite, now: at(1), using: &random), attempts: 1, mayHaveTakenEffect: false)
        )
    }

    @Test mutating func whatCannotBeParkedIsTriedAgainInPlace() {
        var progress = progress(policy: OrgPolicy(retry: RetryPolicy(attempts: 2)), parks: true)
        _ = progress.claimed(.acquired(claim()), askedAt: at(0), now: at(0))
        let misconfigured = answer(403, #"{"code":10003}"#)
        #expect(parked(progress.called(misconfigured, now: at(1), using: &random)) != nil)
        guard case .wait = progress.notParked(using: &random) else { Issue.record("does not wait"); return }
        _ = progress.claimed(.acquired(claim(2)), askedAt: at(2), now: at(2))
        // The second attempt is the last.
        #expect(outcome(progress.called(misconfigured, now: at(3), using: &random)) == .exhausted)
    }

    @Test mutating func whereItCannotBeParkedEveryRequestCountsOnce() {
        let busy = CallResult.answered(CallAnswer(status: 503, body: [], retryAfter: "60"))
        var twice = answer(403, #"{"code":10003}"#)
        twice.refusedRequests = 1
        for (result, requests) in [(busy, 1), (twice, 2)] {
            var progress = progress(parks: true)
            _ = progress.claimed(.acquired(claim()), askedAt: at(0), now: at(0))
            #expect(parked(progress.called(result, now: at(1), using: &random)) != nil)
            _ = progress.notParked(using: &random)
            #expect(progress.attempts == requests)
        }
    }

    @Test mutating func anOwnContextThatDoesNotFitIsRefusedWhereAnotherHasJustBeenProven() {
        let misfit = answer(403, #"{"code":10005}"#)
        var progress = progress(parks: true, provenContext: "Another_Context")
        _ = progress.claimed(.acquired(claim()), askedAt: at(0), now: at(0))
        #expect(outcome(progress.called(misfit, now: at(1), using: &random)) == .rejected)
        var same = self.progress(parks: true, provenContext: "P_C")
        _ = same.claimed(.acquired(claim()), askedAt: at(0), now: at(0))
        #expect(parked(same.called(misfit, now: at(1), using: &random)) != nil)
    }
}
