// What keeps one org's backlog from holding up the others: the machines alone, and through the whole pipeline.

import AMQP
import Foundation
import InteractionAPI
import RoutingContract
import TestSupport
import Testing

@testable import RouteWorker

@Suite struct PrefetchShareTests {
    private var share = PrefetchShare(prefetches: [16, 8], concurrency: 2)

    private func at(_ milliseconds: Int) -> Duration { .milliseconds(milliseconds) }

    @Test mutating func aQuarterBesideWhatIsWorkedOnIsFair() {
        let reported = (0..<7).map { _ in share.entered(0) }
        #expect(reported.firstIndex(of: true) == 6)
        #expect(share.excess == 1 && share.excess(in: 0) == 1 && share.excess(in: 1) == 0)
        share.left(0)
        #expect(share.judge(isLimited: false, at(0)) == .fair)
        #expect(share.dueAt == nil && share.held == 6)
    }

    @Test mutating func threeQuartersAreTheMost() {
        share.bound(by: 100)
        let reported = (0..<7).map { _ in share.entered(1) }
        #expect(reported.firstIndex(of: true) == 6)
    }

    @Test mutating func whatIsNotWorkedOffInTimeIsSurplus() {
        for _ in 0..<12 { _ = share.entered(0) }
        #expect(share.judge(isLimited: false, at(0)) == .watched)
        #expect(share.dueAt == at(250))
        // Who is watched is not reported again.
        #expect(share.entered(0) == false)
        for _ in 0..<3 { share.left(0) }
        #expect(share.judge(isLimited: false, at(249)) == .watched)
        #expect(share.judge(isLimited: false, at(250)) == .surplus)
        #expect(share.dueAt == nil)
    }

    @Test func whatStoreOrBrokerHoldUpIsNotTheOrgs() {
        var share = PrefetchShare(prefetches: [100], concurrency: 10)
        for _ in 0..<80 { _ = share.entered(0) }
        for isLimited in [true, false] {
            #expect(share.judge(isLimited: isLimited, isHeldUp: true, at(0)) == .watched)
            #expect(share.judge(isLimited: isLimited, isHeldUp: true, at(250)) == .watched)
            #expect(share.judge(isLimited: isLimited, isHeldUp: false, at(499)) == .watched)
            #expect(share.judge(isLimited: isLimited, isHeldUp: false, at(500)) == .surplus)
        }
    }

    @Test mutating func anOrgThatItsOwnLimitsHoldUpHasToBeFaster() {
        for isLimited in [true, false] {
            var share = share
            for _ in 0..<30 { _ = share.entered(0) }
            _ = share.judge(isLimited: isLimited, at(0))
            for _ in 0..<15 { share.left(0) }
            #expect(share.judge(isLimited: isLimited, at(250)) == (isLimited ? .surplus : .watched))
        }
    }

    @Test mutating func aBurstThatIsWorkedOffPasses() {
        for _ in 0..<30 { _ = share.entered(0) }
        #expect(share.judge(isLimited: false, at(0)) == .watched)
        for _ in 0..<4 { share.left(0) }
        #expect(share.judge(isLimited: false, at(250)) == .watched)
        #expect(share.dueAt == at(500))
        for _ in 0..<20 { share.left(0) }
        #expect(share.judge(isLimited: false, at(500)) == .fair)
    }

    @Test func aQueueThatHoldsOneCommandAtATimeLeavesNoSurplus() {
        var share = PrefetchShare(prefetches: [1], concurrency: 1)
        #expect(share.entered(0) == false)
        #expect(share.judge(isLimited: false, .zero) == .fair)
    }
}

@Suite struct ReturnSharesTests {
    @Test func thoseThatReturnShareASixteenthAtFirst() {
        var shares = ReturnShares<String>(slots: 64)
        #expect(shares.limit(of: "a") == nil)
        var hasChanged = [shares.began("a", gently: true), shares.began("a", gently: false)]
        #expect(hasChanged == [true, false])
        #expect(shares.limit(of: "a") == 4)
        _ = shares.began("b", gently: true)
        #expect(shares.limit(of: "a") == 2)
        shares.speedUp("a")
        #expect(shares.limit(of: "a") == 4 && shares.limit(of: "b") == 2)
        for _ in 0..<20 { shares.speedUp("a") }
        #expect(shares.limit(of: "a") == 24)
        hasChanged = [shares.ended("b"), shares.ended("b")]
        #expect(hasChanged == [true, false])
        #expect(shares.limit(of: "a") == 48 && shares.limit(of: "b") == nil)
    }

    @Test func manyGetOneSlotEach() {
        var shares = ReturnShares<Int>(slots: 4)
        for org in 0..<20 { _ = shares.began(org, gently: org % 2 == 0) }
        #expect(shares.orgs.allSatisfy { shares.limit(of: $0) == 1 })
    }
}

@Suite struct ParkedConversationsTests {
    @Test func areForgottenAfterARoundThatBeganBehindThem() {
        var parked = ParkedConversations()
        parked.add(1)
        parked.beginRound()
        parked.add(2)
        #expect(parked.contains(1) && parked.contains(2) && !parked.contains(3))
        parked.endRound()
        #expect(!parked.contains(1) && parked.contains(2))
        parked.beginRound()
        parked.add(2)
        parked.endRound()
        #expect(parked.contains(2))
        parked.beginRound()
        parked.endRound()
        #expect(parked.isEmpty)
    }

    @Test func tooManyCountAsAll() {
        var parked = ParkedConversations(limit: 2)
        for conversation in 1...3 { parked.add(conversation) }
        #expect(parked.contains(99))
        parked.beginRound()
        #expect(parked.contains(99))
        parked.add(4)
        parked.endRound()
        #expect(parked.contains(4) && !parked.contains(99))
        parked.add(5)
        parked.beginRound()
        parked.add(6)
        parked.beginRound()
        #expect(parked.contains(99))
    }
}

@Suite(.timeLimit(.minutes(1))) struct SurplusTests {
    private static let lot = ParkingQueue.name(of: PipelineStage.queue, org: PipelineStage.org.id)

    private func answers(_ stage: PipelineStage) -> [Int] {
        stage.publisher.messages(to: "routing.results").compactMap { message in
            message.properties.correlationID.flatMap { Int($0.dropFirst("call-".count)) }
        }
    }

    /// Delivers far more than a prefetch, as if the broker had one without end: what counts is what the worker holds.
    private func run(_ policy: OrgPolicy, _ api: ScriptedAPI = ScriptedAPI()) async throws {
        let lots = ScriptedLots()
        try await PipelineStage.run(
            api: api, publisher: ScriptedPublisher(lots: lots), policy: policy, lots: lots, prefetch: 16,
            otherOrgs: [OrgID("00D000000000002")!]
        ) { stage in
            let count = 120
            for request in 1...count {
                stage.deliver(
                    PipelineStage.delivery(UInt64(request), request: request, conversation: "c\(request % 30)"))
            }
            // It may be on its way back before anybody looks.
            try await until("the surplus in its parking queue") { stage.publisher.messages(to: Self.lot).count > 16 }
            if !api.calls.isEmpty { api.letGo() }
            try await until("all answers") { answers(stage).count >= count }
            for conversation in 0..<30 {
                let mine = answers(stage).filter { $0 % 30 == conversation }
                #expect(mine == mine.sorted())
            }
            #expect(stage.api.calls.count == count)
            try await until("an empty parking queue") { lots.count(Self.lot) == 0 }
            try await until("the end of the surplus") { lots.log.last == "unsubscribe" }
        }
    }

    @Test func theSurplusOfARateLimitedOrgIsParkedAndComesBackInOrder() async throws {
        try await run(OrgPolicy(rateLimit: 40))
    }

    @Test func theSurplusOfAnOrgThatTakesFewCallsIsParkedAndComesBackInOrder() async throws {
        let api = ScriptedAPI()
        api.hold()
        try await run(OrgPolicy(maximumConcurrency: 2), api)
        #expect(api.mostAtOnce <= 2)
    }

    @Test func whatIsSetAsideIsNotOvertakenByWhatWaitedBehindItInItsLane() async throws {
        let api = ScriptedAPI()
        api.hold()
        let lots = ScriptedLots()
        try await PipelineStage.run(
            api: api, publisher: ScriptedPublisher(lots: lots), policy: OrgPolicy(maximumConcurrency: 1), lots: lots,
            prefetch: 16, otherOrgs: [OrgID("00D000000000002")!]
        ) { stage in
            // One more than the org's share of the prefetch, so that of c2 the first is set aside and the second is not.
            for (request, conversation) in [(1, "c1"), (2, "c2"), (3, "c2"), (4, "c4"), (5, "c5"), (6, "c6")] {
                stage.deliver(PipelineStage.delivery(UInt64(request), request: request, conversation: conversation))
            }
            // The command, a marker of its own, and that of the round; the command is back when both markers are.
            try await until("the end of the round") {
                stage.publisher.messages(to: Self.lot).count >= 3 && lots.count(Self.lot) == 1
            }
            api.letGo()
            try await until("all answers") { answers(stage).count >= 6 }
            #expect(answers(stage).filter { $0 == 2 || $0 == 3 } == [2, 3])
        }
    }

    @Test func whatCannotBeSetAsideAtOnceDoesNotOvertakeWhatIsBackMeanwhile() async throws {
        let api = ScriptedAPI()
        api.hold()
        let lots = ScriptedLots()
        // Some of those that are refused may be markers, which nobody misses.
        let publisher = ScriptedPublisher([Self.lot: [.confirmed, .nacked, .nacked, .nacked]], lots: lots)
        try await PipelineStage.run(
            api: api, publisher: publisher, policy: OrgPolicy(maximumConcurrency: 1), lots: lots, prefetch: 16,
            otherOrgs: [OrgID("00D000000000002")!]
        ) { stage in
            // Two more than the org's share of the prefetch. The broker takes both of c2, but the second's confirm is lost; it
            // waits for another try, for which its org has no room.
            for (request, conversation) in [
                (1, "c1"), (2, "c2"), (3, "c2"), (4, "c1"), (5, "c1"), (6, "c1"), (7, "c1"),
            ] {
                stage.deliver(PipelineStage.delivery(UInt64(request), request: request, conversation: conversation))
            }
            // Both commands, a marker of its own, and that of the round; the commands are back when both markers are.
            try await until("the end of the round") {
                stage.publisher.messages(to: Self.lot).count >= 4 && lots.count(Self.lot) == 2
            }
            api.letGo()
            try await until("all answers") { Set(answers(stage)).count >= 7 }
            #expect(answers(stage).filter { $0 == 2 || $0 == 3 }.prefix(2) == [2, 3])
        }
    }

    @Test func anOrgThatHasTheWorkerForItselfIsNotSetAside() async throws {
        let lots = ScriptedLots()
        await PipelineStage.run(
            publisher: ScriptedPublisher(lots: lots), policy: OrgPolicy(rateLimit: 40), lots: lots, prefetch: 16
        ) { stage in
            for request in 1...60 { stage.deliver(PipelineStage.delivery(UInt64(request), request: request)) }
            _ = await stage.settled(60)
            #expect(lots.log.isEmpty)
        }
    }

    @Test func withoutTheRightToParkTheSurplusKeepsItsOrgsLimits() async throws {
        let api = ScriptedAPI()
        api.hold()
        let lots = ScriptedLots(.refused("403"))
        try await PipelineStage.run(
            api: api, publisher: ScriptedPublisher(lots: lots), policy: OrgPolicy(maximumConcurrency: 2), lots: lots,
            prefetch: 8, otherOrgs: [OrgID("00D000000000002")!]
        ) { stage in
            for request in 1...40 {
                stage.deliver(PipelineStage.delivery(UInt64(request), request: request, conversation: "c\(request)"))
            }
            try await until("the refusal") { lots.log.contains("prepare") }
            api.letGo()
            _ = await stage.settled(40)
            #expect(api.mostAtOnce <= 2 && api.calls.count == 40)
        }
    }
}
