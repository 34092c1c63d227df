// Operators' controls, through the whole pipeline.

import AMQP
import AMQPMessage
import FleetControls
import Foundation
import InteractionAPI
import PrometheusMetrics
import RoutingContract
import TestSupport
import Testing

@testable import RouteWorker

@Suite(.timeLimit(.minutes(1))) struct ControlsTests {
    private static let lot = ParkingQueue.name(of: PipelineStage.queue, org: PipelineStage.org.id)
    private static let org = PipelineStage.org.id
    private static let note = ControlNote(since: Timestamp(milliseconds: 0), by: "me@here")
    private static let noToken = CallResult.notSent(
        CallFailure(reason: CallFailure.Reason.tokenUnavailable, message: "no token"))

    private static let policy = OrgPolicy(
        retry: RetryPolicy(attempts: 5, backoff: Backoff(minimum: .zero, maximum: .zero)),
        parking: ParkingPolicy(
            minimumCalls: 2, probe: Backoff(minimum: .milliseconds(1), maximum: .milliseconds(4))))

    private func stage(
        _ script: [CallResult] = [], publishes: [String: [PublishOutcome]] = [:], lots: ScriptedLots = ScriptedLots(),
        policy: OrgPolicy = Self.policy, concurrency: Int = 4, metrics: PipelineMetrics = PipelineMetrics(),
        _ body: (PipelineStage) async throws -> Void
    ) async rethrows {
        try await PipelineStage.run(
            api: ScriptedAPI(script), publisher: ScriptedPublisher(publishes, lots: lots), policy: policy,
            concurrency: concurrency, lots: lots, metrics: metrics, body)
    }

    private func say(_ changes: ControlChange..., of org: OrgID? = Self.org, to stage: PipelineStage) async {
        var state = await stage.pipeline.controls
        for change in changes { state = state.changed(by: change, for: org, Self.note) ?? state }
        await stage.pipeline.use(state)
    }

    private func answers(_ stage: PipelineStage) -> [String] {
        stage.publisher.messages(to: "routing.results").map { $0.properties.correlationID ?? "" }
    }

    private func handedOn(_ stage: PipelineStage, to queue: String = "old") -> [String] {
        stage.publisher.messages(to: queue).map { $0.properties.correlationID ?? "" }
    }

    // MARK: Pause

    @Test(arguments: [Self.org, nil])
    func aPausedOrgIsNotCalledAndReturnsInOrder(_ org: OrgID?) async throws {
        try await stage { stage in
            // Before anything is known of the org.
            await say(.pause, of: org, to: stage)
            for tag in 1...3 { stage.deliver(PipelineStage.delivery(UInt64(tag), request: tag)) }
            _ = await stage.settled(3)
            #expect(stage.api.calls.isEmpty && stage.lots!.count(Self.lot) == 3)
            #expect(await stage.pipeline.snapshot.orgs.map(\.isPaused) == [true])
            #expect(await stage.pipeline.snapshot.orgs.map(\.isParked) == [false])
            await say(.resume, of: org, to: stage)
            _ = await stage.settled(3)
            #expect(answers(stage) == ["call-1", "call-2", "call-3"])
            try await until("a live org") { await stage.pipeline.snapshot.orgs[0].isPaused == false }
        }
    }

    /// The last moment that can be written stands for "never", and no probe comes before it.
    @Test(arguments: [253_402_300_799_999, Int64.max])
    func aDeadlineThatNeverComesIsWaitedForInPeace(_ deadline: Int64) async throws {
        try await stage { stage in
            await say(.pause, to: stage)
            stage.deliver(PipelineStage.delivery(1, deadline: Timestamp(milliseconds: deadline)))
            _ = await stage.settled(1)
            #expect(stage.lots!.count(Self.lot) == 1)
            await say(.resume, to: stage)
            _ = await stage.settled(1)
            #expect(answers(stage) == ["call-1"])
        }
    }

    @Test func aPauseOfAllHoldsForOrgsThatComeLater() async {
        await stage { stage in
            await stage.pipeline.use(policies: [:])
            await say(.pause, of: nil, to: stage)
            await stage.pipeline.use(policies: [Self.org: Self.policy])
            #expect(await stage.pipeline.snapshot.orgs.map(\.isPaused) == [true])
        }
    }

    @Test func whereAnOrgCannotBeParkedItsCommandsWaitInTheirPlace() async throws {
        var policy = Self.policy
        policy.parking = nil
        try await stage(lots: ScriptedLots(.refused("no right")), policy: policy, concurrency: 1) { stage in
            await say(.pause, to: stage)
            stage.deliver(PipelineStage.delivery(1), PipelineStage.delivery(2, request: 2, conversation: "c2"))
            // Without a slot.
            try await until("waiting commands") { await stage.pipeline.load.paused == 2 }
            #expect(stage.api.calls.isEmpty)
            await say(.resume, to: stage)
            _ = await stage.settled(2)
            #expect(Set(answers(stage)) == ["call-1", "call-2"])
        }
    }

    @Test func aPausedOrgsCommandsExpireInTime() async throws {
        await stage { stage in
            await say(.pause, to: stage)
            let deadline = Timestamp(milliseconds: Int64(Date().timeIntervalSince1970 * 1000) + 1500)
            stage.deliver(PipelineStage.delivery(1, deadline: deadline))
            _ = await stage.settled(2)
            #expect(stage.publisher.messages(to: "routing.results")[0].header("Outcome") == "expired")
            #expect(stage.api.calls.isEmpty)
        }
    }

    @Test func aPausedOrgIsNotCalledForWhatIsNotTooLateAfterAll() async throws {
        let now = Timestamp(milliseconds: Int64(Date().timeIntervalSince1970 * 1000))
        let lots = ScriptedLots()
        // Parked when less time was given.
        let parked = ParkedMessage(
            message: PipelineStage.delivery(1, deadline: now + .seconds(3600)).message,
            origin: DeliveryOrigin(queue: PipelineStage.queue, routingKey: PipelineStage.queue),
            receivedAt: now, earlierDeliveries: 0, deadline: now)
        lots.put(try parked.encoded(messageID: "m1"), in: Self.lot)
        try await stage(lots: lots) { stage in
            await say(.pause, to: stage)
            #expect(await stage.pipeline.lookForLeftOvers())
            try await until("the end of a look") { lots.log.contains("unsubscribe") }
            #expect(stage.api.calls.isEmpty && lots.count(Self.lot) >= 1)
            await say(.resume, to: stage)
            try await until("the answer") { answers(stage) == ["call-1"] }
        }
    }

    @Test func callsUnderWayFinishWhenTheirOrgIsPaused() async throws {
        await stage { stage in
            stage.api.hold()
            stage.deliver(PipelineStage.delivery(1), PipelineStage.delivery(2, request: 2))
            await stage.api.waitForCalls(1)
            await say(.pause, to: stage)
            stage.api.letGo()
            _ = await stage.settled(2)
            #expect(answers(stage) == ["call-1"] && stage.lots!.count(Self.lot) == 1)
        }
    }

    @Test func anOrgThatIsPausedWhileItReturnsGoesBack() async throws {
        try await stage([Self.noToken, Self.noToken]) { stage in
            // Behind the first command and two probes: the token is back, and the first of those that return is in its call.
            stage.api.hold(after: 3)
            for tag in 1...6 { stage.deliver(PipelineStage.delivery(UInt64(tag), request: tag)) }
            await stage.api.waitForCalls(4)
            await say(.pause, to: stage)
            stage.api.letGo()
            try await until("all in the lot") {
                let answered = answers(stage).count
                return await stage.pipeline.load.running == 0 && stage.lots!.count(Self.lot) + answered >= 6
            }
            await say(.resume, to: stage)
            try await until("all answers") { Set(answers(stage)).count == 6 }
        }
    }

    // MARK: Shadow

    @Test func shadowedCommandsAreDiscardedAndCounted() async throws {
        let registry = PrometheusRegistry(MetricCatalog.all)
        await stage(metrics: PipelineMetrics(factory: registry, queues: [PipelineStage.queue])) { stage in
            await say(.mode(.shadow), to: stage)
            var invalid = PipelineStage.delivery(2, request: 2)
            invalid.message.body = Array("{}".utf8)
            stage.deliver(PipelineStage.delivery(1), invalid)
            #expect(Set(await stage.settled(2)) == [.ack(PipelineStage.receipt(1)), .ack(PipelineStage.receipt(2))])
            #expect(stage.api.calls.isEmpty && answers(stage).isEmpty)
            #expect(stage.publisher.messages(to: "routing.dead-letters").isEmpty)
            let text = registry.exposition()
            #expect(text.contains(#"outcome="shadow"} 1"#) && text.contains(#"outcome="shadow-invalid"} 1"#))
        }
    }

    @Test func aCommandWhoseBodyIsTooLargeIsItsOrgs() async {
        await stage { stage in
            await say(.mode(.shadow), to: stage)
            var huge = PipelineStage.delivery(1)
            huge.message.body = []
            huge.skippedBodyBytes = 1 << 30
            stage.deliver(huge)
            #expect(await stage.settled(1) == [.ack(PipelineStage.receipt(1))])
            #expect(answers(stage).isEmpty)
        }
    }

    @Test func whatIsParkedIsShadowedWithoutAProbe() async throws {
        await stage([Self.noToken]) { stage in
            stage.api.hold()
            stage.deliver(PipelineStage.delivery(1), PipelineStage.delivery(2, request: 2))
            await stage.api.waitForCalls(1)
            await say(.pause, to: stage)
            stage.api.letGo()
            _ = await stage.settled(2)
            #expect(stage.lots!.count(Self.lot) == 2)
            await say(.mode(.shadow), .resume, to: stage)
            _ = await stage.settled(2)
            #expect(stage.api.calls.count == 1 && answers(stage).isEmpty)
            await say(.mode(.live), to: stage)
            stage.deliver(PipelineStage.delivery(3, request: 3))
            _ = await stage.settled(1)
            #expect(answers(stage) == ["call-3"])
        }
    }

    @Test func commandsInALaneObeyWhatHoldsAtItsHead() async {
        await stage { stage in
            stage.api.hold()
            stage.deliver(
                PipelineStage.delivery(1), PipelineStage.delivery(2, request: 2), PipelineStage.delivery(3, request: 3))
            await stage.api.waitForCalls(1)
            await say(.mode(.shadow), to: stage)
            stage.api.letGo()
            _ = await stage.settled(3)
            #expect(answers(stage) == ["call-1"] && stage.api.calls.count == 1)
        }
    }

    @Test func trafficThatIsNotCalledForLeavesTheBreakerAlone() async throws {
        await stage([ScriptedAPI.busy, ScriptedAPI.busy]) { stage in
            stage.api.hold()
            stage.deliver(PipelineStage.delivery(1), PipelineStage.delivery(2, request: 2, conversation: "c2"))
            await stage.api.waitForCalls(2)
            await say(.mode(.shadow), to: stage)
            // They fail when nobody counts any more.
            stage.api.letGo()
            _ = await stage.settled(2)
            #expect(await stage.pipeline.snapshot.orgs.map(\.breakerIsOpen) == [false])
            await say(.mode(.live), to: stage)
            stage.deliver(PipelineStage.delivery(3, request: 3))
            _ = await stage.settled(1)
            #expect(answers(stage) == ["call-3"])
        }
    }

    @Test func anOpenBreakerDoesNotStayOpenOverAChangeOfMode() async throws {
        try await stage([ScriptedAPI.busy, ScriptedAPI.busy, ScriptedAPI.busy, ScriptedAPI.busy]) { stage in
            stage.deliver(PipelineStage.delivery(1))
            try await until("a parked command") { stage.lots!.log.contains("prepare") }
            await say(.mode(.shadow), to: stage)
            try await until("a live org") { await stage.pipeline.snapshot.orgs.map(\.isParked) == [false] }
            await say(.mode(.live), to: stage)
            #expect(await stage.pipeline.snapshot.orgs.map(\.breakerIsOpen) == [false])
        }
    }

    /// Its call ends in trouble of the whole org, of which nobody wants to know any more.
    @Test func aReturnedCommandWhoseControlChangesInTheMiddleOfItsCallIsNotStranded() async throws {
        try await stage([Self.noToken, ScriptedAPI.accepted, Self.noToken]) { stage in
            stage.api.hold()
            stage.deliver(PipelineStage.delivery(1))
            // The command, the probe, and the command once more. A call that is counted may not be held yet.
            for call in 1...2 {
                await stage.api.waitForCalls(call)
                try await until("call \(call + 1)") {
                    stage.api.letGoHeld()
                    return stage.api.calls.count > call
                }
            }
            await say(.mode(.shadow), to: stage)
            stage.api.letGo()
            _ = await stage.settled(2)
            #expect(answers(stage).isEmpty && stage.api.calls.count == 3)
            // The marker of the last turn goes, too.
            try await until("an empty parking queue") { stage.lots!.count(Self.lot) == 0 }
        }
    }

    // MARK: Passthrough

    @Test func commandsAreHandedOnInOrderAsTheyCame() async throws {
        await stage { stage in
            await say(.mode(.passthrough(to: "old")), to: stage)
            var first = PipelineStage.delivery(1)
            first.message.properties.userID = "somebody"
            first.message.properties.expiration = "1000"
            first.message.properties.headers["CC"] = .array([.string("elsewhere")])
            first.message.properties.headers["Tenant"] = .string("t")
            stage.deliver(first)
            for tag in 2...5 { stage.deliver(PipelineStage.delivery(UInt64(tag), request: tag)) }
            _ = await stage.settled(5)
            #expect(handedOn(stage) == (1...5).map { "call-\($0)" })
            #expect(stage.api.calls.isEmpty && answers(stage).isEmpty)
            let message = stage.publisher.messages(to: "old")[0]
            #expect(message.body == first.message.body && message.header("Tenant") == "t")
            #expect(message.properties.userID == nil && message.properties.expiration == nil)
            #expect(message.properties.headers["CC"] == nil && message.properties.deliveryMode == 2)
            // Each can be told from the others when it is returned, so they need not go one by one.
            let ids = stage.publisher.messages(to: "old").map(\.properties.messageID)
            #expect(ids == stage.publisher.messages(to: "old").map { $0.header("RequestId") })
        }
    }

    @Test func anInvalidMessageIsHandedOnToo() async throws {
        await stage(publishes: ["old": [.failed(.closed)]]) { stage in
            await say(.mode(.passthrough(to: "old")), to: stage)
            var invalid = PipelineStage.delivery(1)
            invalid.message.body = Array("{}".utf8)
            stage.deliver(invalid)
            #expect(await stage.settled(1) == [.ack(PipelineStage.receipt(1))])
            #expect(handedOn(stage) == ["call-1", "call-1"] && answers(stage).isEmpty)
        }
    }

    @Test(arguments: [PublishOutcome.returned(code: 312, text: "NO_ROUTE"), .nacked])
    func whileItsQueueTakesNothingTheOrgIsParked(_ outcome: PublishOutcome) async throws {
        let lots = ScriptedLots()
        await stage(publishes: ["old": [outcome]], lots: lots) { stage in
            await say(.mode(.passthrough(to: "old")), to: stage)
            for tag in 1...3 { stage.deliver(PipelineStage.delivery(UInt64(tag), request: tag)) }
            _ = await stage.settled(3)
            #expect(lots.count(Self.lot) == 3)
            #expect(await stage.pipeline.snapshot.orgs.map(\.isParked) == [true])
            _ = await lots.prepare("old")
            _ = await stage.settled(3)
            #expect(Array(handedOn(stage).suffix(3)) == ["call-1", "call-2", "call-3"])
            #expect(stage.api.calls.isEmpty)
        }
    }

    @Test func overdueCommandsOfAPassthroughWaitForTheirTurnWithoutASlot() async throws {
        let lots = ScriptedLots()
        try await stage(publishes: ["old": [.returned(code: 312, text: "NO_ROUTE")]], lots: lots, concurrency: 1) {
            stage in
            await say(.mode(.passthrough(to: "old")), to: stage)
            let deadline = Timestamp(milliseconds: Int64(Date().timeIntervalSince1970 * 1000) + 1500)
            stage.deliver(PipelineStage.delivery(1, deadline: deadline))
            _ = await stage.settled(1)
            try await until("a look at what is overdue") { lots.log.contains("look") }
            try await until("nothing under way") { await stage.pipeline.load == (0, 0, 0) }
            #expect(handedOn(stage).count == 1 && answers(stage).isEmpty)
            _ = await lots.prepare("old")
            _ = await stage.settled(1)
            #expect(handedOn(stage) == ["call-1", "call-1"] && answers(stage).isEmpty)
        }
    }

    @Test func nothingIsHandedOnToTheWorkersOwnQueues() async throws {
        await stage { stage in
            await say(.mode(.passthrough(to: "routing.results")), to: stage)
            stage.deliver(PipelineStage.delivery(1))
            _ = await stage.settled(1)
            #expect(stage.lots!.count(Self.lot) == 1 && answers(stage).isEmpty)
            await say(.mode(.live), to: stage)
            _ = await stage.settled(1)
            #expect(answers(stage) == ["call-1"])
        }
    }

    @Test func whatWasParkedIsCalledBeforeFreshCommandsOnceTheOrgIsLive() async throws {
        try await stage(publishes: ["old": [.returned(code: 312, text: "NO_ROUTE")]]) { stage in
            await say(.mode(.passthrough(to: "old")), to: stage)
            for tag in 1...4 { stage.deliver(PipelineStage.delivery(UInt64(tag), request: tag)) }
            _ = await stage.settled(4)
            await say(.mode(.live), to: stage)
            for tag in 5...8 { stage.deliver(PipelineStage.delivery(UInt64(tag), request: tag)) }
            try await until("all answers") { answers(stage).count == 8 }
            #expect(answers(stage) == (1...8).map { "call-\($0)" })
        }
    }
}
