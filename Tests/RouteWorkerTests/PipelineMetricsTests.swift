// What the pipeline counts of deliveries, calls and outcomes, and what it says it holds.

import AMQP
import FleetControls
import IdempotencyStore
import InteractionAPI
import PrometheusMetrics
import RoutingContract
import TestSupport
import Testing

@testable import RouteWorker

@Suite(.timeLimit(.minutes(1))) struct PipelineMetricsTests {
    private static let noToken = CallResult.notSent(
        CallFailure(reason: CallFailure.Reason.tokenUnavailable, message: "no token"))

    private let registry = PrometheusRegistry(MetricCatalog.all)
    private var metrics: PipelineMetrics { PipelineMetrics(factory: registry, queues: [PipelineStage.queue]) }

    private func expect(_ lines: String..., sourceLocation: SourceLocation = #_sourceLocation) {
        let text = registry.exposition()
        for line in lines {
            #expect(text.contains(line + "\n"), "\(line) is not in\n\(text)", sourceLocation: sourceLocation)
        }
    }

    @Test("Outcomes, calls and duplicates are counted by the org's alias")
    func counts() async {
        await PipelineStage.run(api: ScriptedAPI([ScriptedAPI.busy]), metrics: metrics) { stage in
            stage.deliver(PipelineStage.delivery(1))
            _ = await stage.settled(1)
            stage.deliver(
                PipelineStage.delivery(2, redelivered: true),
                PipelineStage.delivery(3, command: "walk", request: 2))
            _ = await stage.settled(2)
        }
        expect(
            #"route_worker_deliveries_total{queue="routing.commands"} 3"#,
            #"route_worker_redeliveries_total{queue="routing.commands"} 1"#,
            #"route_worker_commands_total{org="acme",command="route",outcome="succeeded"} 1"#,
            #"route_worker_commands_total{org="acme",command="none",outcome="invalid"} 1"#,
            #"route_worker_commands_total{org="acme",command="route",outcome="unknown"} 0"#,
            #"route_worker_duplicates_total{org="acme"} 1"#,
            #"route_worker_calls_total{org="acme",result="5xx"} 1"#,
            #"route_worker_calls_total{org="acme",result="2xx"} 1"#,
            #"route_worker_call_seconds_count{org="acme"} 2"#,
            #"route_worker_critical_time_seconds_count{type="initial"} 2"#,
            #"route_worker_critical_time_seconds_count{type="invalid"} 1"#)
        #expect(!registry.exposition().contains(PipelineStage.org.id.description))
    }

    @Test("A command that was parked and came back is counted once")
    func parked() async throws {
        let lots = ScriptedLots()
        let policy = OrgPolicy(
            retry: RetryPolicy(attempts: 5, backoff: Backoff(minimum: .zero, maximum: .zero)),
            parking: ParkingPolicy(probe: Backoff(minimum: .milliseconds(1), maximum: .milliseconds(4))))
        await PipelineStage.run(
            api: ScriptedAPI([Self.noToken]), publisher: ScriptedPublisher(lots: lots), policy: policy, lots: lots,
            metrics: metrics
        ) { stage in
            stage.deliver(PipelineStage.delivery(1))
            _ = await stage.settled(2)
        }
        expect(
            #"route_worker_deliveries_total{queue="routing.commands"} 1"#,
            #"route_worker_parked_total{org="acme"} 1"#,
            #"route_worker_commands_total{org="acme",command="route",outcome="succeeded"} 1"#,
            #"route_worker_queue_wait_seconds_count{type="initial"} 1"#,
            #"route_worker_critical_time_seconds_count{type="initial"} 1"#)
    }

    @Test("A transfer that is parked waits, too, until it has come back and ended")
    func parkedTransfer() async throws {
        let lots = ScriptedLots()
        let note = ControlNote(since: Timestamp(milliseconds: 0), by: "me@here")
        let policy = OrgPolicy(
            parking: ParkingPolicy(probe: Backoff(minimum: .milliseconds(1), maximum: .milliseconds(4))))
        try await PipelineStage.run(
            publisher: ScriptedPublisher(lots: lots), policy: policy, lots: lots, metrics: metrics
        ) { stage in
            let paused = try #require(ControlState().changed(by: .pause, for: nil, note))
            await stage.pipeline.use(paused)
            let issuedAt = StoreClock.system.now() + .seconds(-5)
            stage.deliver(PipelineStage.delivery(1, type: "Transfer", issuedAt: issuedAt))
            _ = await stage.settled(1)
            try await until("an idle pipeline") { await stage.pipeline.snapshot.lanes == 0 }
            #expect(await stage.pipeline.snapshot.oldestTransfer >= .seconds(5))

            await stage.pipeline.use(try #require(paused.changed(by: .resume, for: nil, note)))
            try await until("its end") { await stage.pipeline.snapshot.oldestTransfer == .zero }
            #expect(stage.publisher.messages(to: "routing.results").count == 1)
        }
    }

    @Test("A recorded outcome whose answer did not leave is counted, and its repetition is a duplicate")
    func unannounced() async throws {
        let publisher = ScriptedPublisher(["routing.results": [.failed(.closed)]])
        let api = ScriptedAPI()
        await PipelineStage.run(api: api, publisher: publisher, metrics: metrics) { stage in
            api.hold()
            stage.deliver(PipelineStage.delivery(1))
            await api.waitForCalls(1)
            stage.pipeline.receive(.subscriptionLost(queue: PipelineStage.queue, generation: 1, .closed))
            api.letGo()
            try? await until("the end of the lost delivery") { await stage.pipeline.snapshot.lanes == 0 }
            stage.pipeline.receive(.subscribed(queue: PipelineStage.queue, generation: 2))
            stage.deliver(PipelineStage.delivery(1, generation: 2, redelivered: true))
            _ = await stage.settled(1)
        }
        expect(
            #"route_worker_commands_total{org="acme",command="route",outcome="succeeded"} 1"#,
            #"route_worker_duplicates_total{org="acme"} 1"#,
            #"route_worker_calls_total{org="acme",result="2xx"} 1"#)
    }

    @Test("The snapshot tells what is held, and since when the oldest transfer waits")
    func snapshot() async throws {
        let api = ScriptedAPI()
        try await PipelineStage.run(api: api, concurrency: 2, metrics: metrics) { stage in
            api.hold()
            let issuedAt = StoreClock.system.now() + .seconds(-5)
            stage.deliver(
                PipelineStage.delivery(1), PipelineStage.delivery(2, request: 2, type: "Transfer", issuedAt: issuedAt),
                PipelineStage.delivery(3, request: 3, conversation: "c2"),
                PipelineStage.delivery(4, request: 4, conversation: "c3"))
            await api.waitForCalls(2)
            let busy = await stage.pipeline.snapshot
            #expect(busy.running == 2 && busy.waiting == 2 && busy.lanes == 3 && busy.slots == 2)
            #expect(busy.oldestTransfer >= .seconds(5))
            #expect(busy.orgs.map(\.alias) == ["acme"] && busy.orgs.allSatisfy { !$0.isParked && !$0.breakerIsOpen })
            api.letGo()
            _ = await stage.settled(4)
            // The ack is handed out just before the delivery leaves its lane.
            try await until("an idle pipeline") { await stage.pipeline.snapshot.lanes == 0 }
            let idle = await stage.pipeline.snapshot
            #expect(idle.running == 0 && idle.waiting == 0 && idle.oldestTransfer == .zero)
            #expect(idle.steps > busy.steps)
        }
    }
}
