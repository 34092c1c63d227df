// A queue that comes and goes, through the whole pipeline: taken over, worked on, handed over.

import AMQP
import AMQPMessage
import FleetControls
import Foundation
import InteractionAPI
import LoopSupport
import RoutingContract
import TestSupport
import Testing

@testable import RouteWorker

@Suite(.timeLimit(.minutes(1))) struct HandOverTests {
    private static let lot = ParkingQueue.name(of: PipelineStage.queue, org: PipelineStage.org.id)
    private static let noToken = CallResult.notSent(
        CallFailure(reason: CallFailure.Reason.tokenUnavailable, message: "no token"))

    private func policy(_ backoff: Duration = .zero) -> OrgPolicy {
        OrgPolicy(
            retry: RetryPolicy(attempts: 5, backoff: Backoff(minimum: backoff, maximum: backoff)),
            parking: ParkingPolicy(
                minimumCalls: 5, probe: Backoff(minimum: .milliseconds(1), maximum: .milliseconds(4))))
    }

    private func stage(
        _ api: ScriptedAPI = ScriptedAPI(), lots: ScriptedLots = ScriptedLots(), policy: OrgPolicy? = nil,
        _ body: (PipelineStage) async throws -> Void
    ) async rethrows {
        try await PipelineStage.run(
            api: api, publisher: ScriptedPublisher(lots: lots), policy: policy ?? self.policy(), lots: lots,
            isLocked: true, body)
    }

    private func answers(_ stage: PipelineStage) -> [String] {
        stage.publisher.messages(to: "routing.results").map { $0.properties.correlationID ?? "" }
    }

    private func parked(_ request: Int, conversation: String = "c1") throws -> Message {
        let delivery = PipelineStage.delivery(UInt64(request), request: request, conversation: conversation)
        return try ParkedMessage(
            message: delivery.message,
            origin: DeliveryOrigin(queue: PipelineStage.queue, routingKey: PipelineStage.queue),
            receivedAt: Timestamp(milliseconds: Int64(Date().timeIntervalSince1970 * 1000)), earlierDeliveries: 0,
            deadline: nil
        ).encoded(messageID: "m\(request)")
    }

    /// Begins to hand the queue over; returns once nothing more of it is started.
    private func beginHandOver(_ stage: PipelineStage) async throws -> Task<Bool, Never> {
        // Goes on beside what the test does next, and is awaited there.
        let handOver = Task { await stage.pipeline.handOver(PipelineStage.queue) }
        try await until("the hand-over's beginning") { await !stage.pipeline.tenures.serves(0) }
        return handOver
    }

    @Test func commandsUnderWayAreFinishedAndTheRestIsLeft() async throws {
        let api = ScriptedAPI()
        api.hold()
        try await stage(api) { stage in
            #expect(await stage.takeOver() == [PipelineStage.queue])
            stage.deliver(
                PipelineStage.delivery(1, request: 1), PipelineStage.delivery(2, request: 2),
                PipelineStage.delivery(3, request: 3, conversation: "c2"))
            await api.waitForCalls(2)
            let handOver = try await beginHandOver(stage)
            // Of the channel that is still open.
            stage.deliver(PipelineStage.delivery(4, request: 4, conversation: "c3"))
            #expect(await stage.pipeline.load.waiting == 0)
            api.letGo()
            #expect(await handOver.value)
            #expect(Set(await stage.settled(2)) == [.ack(PipelineStage.receipt(1)), .ack(PipelineStage.receipt(3))])
            #expect(api.calls.count == 2)
            #expect(await stage.pipeline.load == (0, 0, 0))
        }
    }

    @Test func aQueueWithNothingUnderWayIsHandedOverAtOnceAndComesBack() async throws {
        await stage { stage in
            _ = await stage.takeOver()
            #expect(await stage.pipeline.handOver(PipelineStage.queue))
            stage.pipeline.receive(.subscriptionLost(queue: PipelineStage.queue, generation: 1, .closed))
            stage.pipeline.receive(.lockLost(PipelineStage.lock, .closed))
            // Nobody's any more.
            #expect(await !stage.pipeline.handOver(PipelineStage.queue))
            #expect(await stage.takeOver(generation: 2) == [PipelineStage.queue])
            stage.deliver(PipelineStage.delivery(1, generation: 2))
            #expect(await stage.settled(1).count == 1)
        }
    }

    @Test func whatWaitsForAnotherAttemptIsLeft() async throws {
        let api = ScriptedAPI([ScriptedAPI.busy])
        try await stage(api, policy: policy(.seconds(60))) { stage in
            _ = await stage.takeOver()
            stage.deliver(PipelineStage.delivery(1))
            try await until("the wait") { await stage.pipeline.load.paused == 1 }
            #expect(await stage.pipeline.handOver(PipelineStage.queue))
            #expect(api.calls.count == 1 && answers(stage).isEmpty)
            #expect(await stage.pipeline.load == (0, 0, 0))
        }
    }

    @Test func parkedCommandsAreFoundBeforeTheFirstDelivery() async throws {
        let lots = ScriptedLots()
        lots.put(try parked(1), in: Self.lot)
        lots.put(try parked(2), in: Self.lot)
        try await stage(lots: lots) { stage in
            // Of a queue that is somebody else's.
            #expect(await stage.pipeline.lookForLeftOvers())
            #expect(lots.log.isEmpty)
            #expect(await stage.takeOver() == [PipelineStage.queue])
            stage.deliver(PipelineStage.delivery(3, request: 3))
            try await until("all answers") { answers(stage).count == 3 }
            #expect(answers(stage) == ["call-1", "call-2", "call-3"])
        }
    }

    @Test func afterwardsOnlyWhatWasTakenOverIsLookedAt() async throws {
        let lots = ScriptedLots()
        try await stage(lots: lots) { stage in
            _ = await stage.takeOver()
            // The broker did not count it, as right after a restart.
            lots.put(try parked(1), in: Self.lot)
            #expect(await stage.pipeline.lookForLeftOvers(of: ["routing.commands.other"]))
            #expect(lots.log.isEmpty)
            #expect(await stage.pipeline.lookForLeftOvers(of: [PipelineStage.queue]))
            try await until("the answer") { answers(stage) == ["call-1"] }
        }
    }

    @Test func parkingQueuesAreClosedBeforeTheQueueIsHandedOver() async throws {
        let lots = ScriptedLots()
        for request in 1...3 { lots.put(try parked(request), in: Self.lot) }
        let api = ScriptedAPI()
        // Behind the probe: the first that returns.
        api.hold(after: 1)
        try await stage(api, lots: lots) { stage in
            _ = await stage.takeOver()
            await api.waitForCalls(2)
            let handOver = try await beginHandOver(stage)
            api.letGo()
            #expect(await handOver.value)
            // What was not started stands in its place again, and nobody consumes it.
            #expect(lots.log.last == "unsubscribe")
            let done = answers(stage).count
            #expect(lots.count(Self.lot) >= 3 - done)
            // The next worker, which happens to be the same.
            stage.pipeline.receive(.lockLost(PipelineStage.lock, .closed))
            #expect(await stage.takeOver(generation: 2) == [PipelineStage.queue])
            try await until("the rest") { answers(stage).count == 3 }
            #expect(answers(stage) == ["call-1", "call-2", "call-3"])
        }
    }

    @Test func aLostLockEndsTheHandOver() async throws {
        let api = ScriptedAPI()
        api.hold()
        try await stage(api) { stage in
            _ = await stage.takeOver()
            stage.deliver(PipelineStage.delivery(1))
            await api.waitForCalls(1)
            let handOver = try await beginHandOver(stage)
            let error = AMQPError.connectionLost("gone")
            stage.pipeline.receive(.subscriptionLost(queue: PipelineStage.queue, generation: 1, error))
            stage.pipeline.receive(.lockLost(PipelineStage.lock, error))
            #expect(await !handOver.value)
            // The call goes on, and holds up those of its conversation that come again.
            #expect(await stage.pipeline.load.running == 1)
            _ = await stage.takeOver(generation: 2)
            stage.deliver(
                PipelineStage.delivery(1, generation: 2), PipelineStage.delivery(2, generation: 2, request: 2))
            await stage.taken()
            #expect(await stage.pipeline.load.waiting == 2)
            api.letGo()
            // That of the first delivery comes to nobody.
            let settled = await stage.settled(3)
            #expect(settled.count { if case .ack(let receipt) = $0 { receipt.generation == 2 } else { false } } == 2)
            #expect(api.calls.count == 2)
        }
    }

    @Test func whatIsParkedIsFoundAfterALockThatWasLostInTheMiddleOfACall() async throws {
        let lots = ScriptedLots()
        let api = ScriptedAPI([Self.noToken])
        api.hold()
        try await stage(api, lots: lots) { stage in
            _ = await stage.takeOver()
            stage.deliver(PipelineStage.delivery(1))
            await api.waitForCalls(1)
            let error = AMQPError.connectionLost("gone")
            stage.pipeline.receive(.subscriptionLost(queue: PipelineStage.queue, generation: 1, error))
            stage.pipeline.receive(.lockLost(PipelineStage.lock, error))
            try await until("the loss") { await !stage.pipeline.tenures.serves(0) }
            api.letGo()
            try await until("the call's end") { await stage.pipeline.load == (0, 0, 0) }
            // The command is another worker's, and so is its parking queue.
            #expect(lots.count(Self.lot) == 0)
            lots.put(try parked(1), in: Self.lot)
            #expect(await stage.takeOver(generation: 2) == [PipelineStage.queue])
            try await until("the answer") { answers(stage) == ["call-1"] }
        }
    }

    @Test func whatWasParkedIsNoLongerCountedOnceTheQueueIsHandedOver() async throws {
        let note = ControlNote(since: Timestamp(milliseconds: 0), by: "me@here")
        try await stage { stage in
            _ = await stage.takeOver()
            await stage.pipeline.use(try #require(ControlState().changed(by: .pause, for: nil, note)))
            let issuedAt = Timestamp(milliseconds: Int64(Date().timeIntervalSince1970 * 1000) - 5000)
            stage.deliver(PipelineStage.delivery(1, type: "Transfer", issuedAt: issuedAt))
            _ = await stage.settled(1)
            try await until("an idle pipeline") { await stage.pipeline.snapshot.lanes == 0 }
            #expect(await stage.pipeline.snapshot.oldestTransfer >= .seconds(4))
            #expect(await stage.pipeline.handOver(PipelineStage.queue))
            #expect(await stage.pipeline.snapshot.oldestTransfer == .zero)
        }
    }

    @Test func aLockThatIsToldOfBeforeAHandOverCounts() async {
        await stage { stage in
            #expect(await stage.pipeline.handOver(PipelineStage.queue, toldOf: PipelineStage.lock))
        }
    }

    @Test func aHandOverWhoseCallerHasGoneEnds() async throws {
        let api = ScriptedAPI()
        api.hold()
        try await stage(api) { stage in
            _ = await stage.takeOver()
            stage.deliver(PipelineStage.delivery(1))
            await api.waitForCalls(1)
            let handOver = try await beginHandOver(stage)
            handOver.cancel()
            #expect(await !handOver.value)
        }
    }

    @Test func aMessageInAQueueThatIsCountedIsRejected() async throws {
        await stage { stage in
            _ = await stage.takeOver()
            stage.deliver(PipelineStage.delivery(1))
            _ = await stage.settled(1)
            var delivery = PipelineStage.delivery(9)
            delivery.queue = "routing.commands.workers"
            stage.deliver(delivery)
            #expect(await stage.settled(1) == [.reject(PipelineStage.receipt(9))])
        }
    }
}

extension DeliveryPipeline {
    /// Hands a queue over just after its lock was told of, where the executor's turn comes before the event's.
    fileprivate func handOver(_ queue: String, toldOf lock: String) async -> Bool {
        let executor = LoopExecutor.of(loop)
        // Calls the executor to the loop; what is asked of it afterwards comes along.
        let earlier = Task(executorPreference: executor) {}
        receive(.lockHeld(lock))
        let handOver = Task(executorPreference: executor) { await self.handOver(queue) }
        await earlier.value
        return await handOver.value
    }
}
