// The pure rules, as transcripts: a claim, what it leads to, what is remembered.

import IdempotencyStore
import RoutingContract
import Testing

@Suite struct CommandRecordTests {
    private let retention = Retention(succeeded: .seconds(100), failed: .seconds(1000))

    /// One command and what has happened to it, with tokens that grow.
    private struct Story {
        var record: CommandRecord?
        var token: Int64 = 0
        var latestDelete: Timestamp?
        let retention: Retention

        mutating func claim(_ request: ClaimRequest, at seconds: Int64) -> ClaimResult {
            token += 1
            let before = record
            let decision = CommandRecord.claim(
                request, finding: &record, latestDelete: latestDelete, token: token, at: start + .seconds(seconds),
                keeping: retention)
            #expect(decision.isWrite || record == before)
            return decision.result
        }

        mutating func record(_ result: CommandResult, _ claim: Claim, at seconds: Int64) -> Fencing {
            let before = record
            let decision = CommandRecord.record(
                result, under: claim, finding: &record, at: start + .seconds(seconds), keeping: retention)
            #expect(decision == .write || record == before)
            return decision == .lost ? .lost : .held
        }

        mutating func release(_ claim: Claim, _ release: Release, at seconds: Int64) -> Fencing {
            let before = record
            let decision = CommandRecord.release(
                claim, as: release, finding: &record, at: start + .seconds(seconds), keeping: retention)
            switch decision {
            case .write: #expect(record != nil)
            case .forget: #expect(record == nil)
            case .alreadyReleased, .lost: #expect(record == before)
            }
            return decision == .lost ? .lost : .held
        }
    }

    @Test func aCommandThatIsRetriedTakenOverAndCompleted() throws {
        var story = Story(retention: retention)
        let claims = (1...3).map { Claim(key: key(1), token: Int64($0)) }
        #expect(story.claim(request(key(1)), at: 0) == .acquired(claims[0]))
        #expect(story.record?.keepUntil == start + .seconds(1030))
        #expect(story.release(claims[0], .forRetry(attempts: 2, mayHaveTakenEffect: false), at: 5) == .held)
        #expect(story.record?.keepUntil == start + .seconds(105))
        #expect(story.claim(request(key(1)), at: 6) == .acquired(Claim(key: key(1), token: 2, attempts: 2)))
        #expect(story.claim(request(key(1)), at: 7) == .inProgress(.seconds(29)))
        let taken = Claim(key: key(1), token: 4, attempts: 2, mayHaveTakenEffect: true)
        #expect(story.claim(request(key(1)), at: 36) == .interrupted(taken))
        #expect(story.record(result(.succeeded), claims[1], at: 37) == .lost)
        #expect(story.record(result(.succeeded, attempts: 3), taken, at: 37) == .held)
        #expect(story.record?.keepUntil == start + .seconds(137))
        #expect(story.claim(request(key(1)), at: 500) == .completed(result(.succeeded, attempts: 3), replay: 0))
    }

    @Test func aFailureThatIsReplayedAndExpires() throws {
        var story = Story(retention: retention)
        let first = try #require(story.claim(request(key(1)), at: 0).acquired)
        #expect(story.record(result(.exhausted, attempts: 5), first, at: 1) == .held)
        #expect(story.record?.keepUntil == start + .seconds(1001))
        let second = try #require(story.claim(request(key(1), replay: 1), at: 2).acquired)
        #expect(second.attempts == 0)
        #expect(story.release(second, .unbound, at: 3) == .held)
        #expect(story.record?.state == .completed(.init(result: result(.exhausted, attempts: 5), replay: 0)))
        #expect(story.record?.attempts == 5)
        #expect(story.record?.keepUntil == start + .seconds(1003))
    }

    @Test func aReopenedCommandWithAPossibleEffectDoesNotEndAsBefore() throws {
        var story = Story(retention: retention)
        let first = try #require(story.claim(request(key(1)), at: 0).acquired)
        #expect(story.record(result(.rejected), first, at: 1) == .held)
        _ = story.claim(request(key(1), replay: 1), at: 2)
        let taken = try #require(story.claim(request(key(1), replay: 1), at: 50).claim)
        #expect(story.release(taken, .unbound, at: 51) == .held)
        #expect(story.record?.state == .released(before: nil))
        let claim = try #require(story.claim(request(key(1)), at: 52).acquired)
        #expect(claim.mayHaveTakenEffect && !claim.isReopened && claim.replay == 1)
    }

    @Test func anUnknownThatIsReopenedWithoutACallIsUnknownAgain() throws {
        var story = Story(retention: retention)
        let first = try #require(story.claim(request(key(1)), at: 0).acquired)
        #expect(story.record(result(.unknown), first, at: 1) == .held)
        let replay = request(key(1), replay: 1, acceptsSecondEffect: true)
        let second = try #require(story.claim(replay, at: 2).acquired)
        #expect(second.mayHaveTakenEffect)
        #expect(story.release(second, .unbound, at: 3) == .held)
        #expect(story.claim(request(key(1)), at: 4) == .completed(result(.unknown), replay: 0))
    }

    @Test func aSupersededRouteHoldsAClaimToRecordUnder() throws {
        var story = Story(retention: retention)
        story.latestDelete = start
        let route = request(key(1), issuedAt: start + .seconds(-1))
        let claim = Claim(key: key(1), token: 1)
        #expect(story.claim(route, at: 0) == .superseded(claim))
        #expect(story.claim(route, at: 1) == .inProgress(.seconds(29)))
        #expect(story.record(result(.superseded, attempts: 0), claim, at: 2) == .held)
    }

    @Test func aClockThatStepsBackLengthensTheLease() throws {
        var story = Story(retention: retention)
        _ = story.claim(request(key(1)), at: 0)
        #expect(story.claim(request(key(1)), at: -100) == .inProgress(.seconds(130)))
    }

    @Test func leasesAndRetentionBeyondAllTimeSaturate() throws {
        var story = Story(retention: Retention(succeeded: .seconds(Int64.max), failed: .seconds(Int64.max)))
        let claim = try #require(story.claim(request(key(1), lease: .seconds(Int64.max)), at: 0).acquired)
        #expect(story.record?.keepUntil == Timestamp(milliseconds: .max))
        guard case .inProgress = story.claim(request(key(1)), at: 1) else {
            Issue.record("expected in progress")
            return
        }
        #expect(story.record(result(.unknown), claim, at: 2) == .held)
    }

    @Test func onlyTheFirstClaimOfADeleteLeavesAMark() {
        let delete = request(key(1, .delete), issuedAt: start)
        var record: CommandRecord?
        #expect(CommandRecord.mark(delete, finding: record) == start)
        var decision = CommandRecord.claim(
            delete, finding: &record, latestDelete: nil, token: 1, at: start, keeping: retention)
        #expect(decision.mark == start)
        #expect(CommandRecord.mark(delete, finding: record) == nil)
        decision = CommandRecord.claim(
            delete, finding: &record, latestDelete: nil, token: 2, at: start + .seconds(60), keeping: retention)
        #expect(decision.mark == nil)
        #expect(decision.result.claim != nil)
    }
}
