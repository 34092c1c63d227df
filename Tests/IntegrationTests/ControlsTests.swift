// Operators' controls with real workers: they hold for the whole fleet, and survive restarts of workers and broker.

import AMQP
import AMQPMessage
import CommandClient
import FleetControls
import Foundation
import InteractionSandbox
import RoutingContract
import TestSupport
import Testing

@Suite("Controls", .serialized, .showsWorkerLog, .timeLimit(.minutes(4)))
struct ControlsTests {
    private typealias Run = CommandLineTests.Run

    private static let settings = ["defaults.probe.minimum=100ms", "defaults.probe.maximum=400ms"]

    /// Runs a command that must succeed.
    @discardableResult
    private func run(_ harness: WorkerHarness, _ command: String, _ arguments: String...) async throws -> String {
        let run = await Run(try harness.tool(command, arguments))
        #expect(run.exit == .code(0), "\(command) \(arguments): \(run.error)")
        return run.output
    }

    private func know(_ version: Int, _ workers: ChildProcess...) async throws {
        for worker in workers { try await worker.line(containing: "version=\(version)") }
    }

    private func calls(_ harness: WorkerHarness, _ command: CommandSpec) -> Int {
        harness.sandbox.ledger().count { $0.requestID == command.id }
    }

    private func state(_ harness: WorkerHarness) async throws -> ControlState? {
        let json = try await run(harness, "controls", "--json")
        guard case .state(let state) = ControlState.read(Array(json.utf8)) else { return nil }
        return state
    }

    @Test("A paused org is called by no worker, also by one that starts, and the others notice nothing")
    func pauseOfAnOrg() async throws {
        try await withHarness(HarnessOptions(settings: Self.settings)) { harness in
            let first = try await harness.startWorker()
            let second = try await harness.startWorker()
            let answers = try harness.collectAnswers()
            let table = try await run(harness, "pause", "--org", "acme", "--reason", "their change")
            #expect(table.contains("acme") && table.contains("paused") && table.contains("their change"), "\(table)")
            try await know(1, first, second)

            let paused = (0..<20).map { _ in CommandSpec.route() }
            let others = (0..<20).map { _ in CommandSpec.route(org: "globex") }
            try await harness.send(zip(paused, others).flatMap { [$0, $1] })
            try await answers.first(others.count)
            try await until("an empty queue") { try await harness.ready(in: harness.queues[0]) == 0 }
            #expect(await first.stop() == .code(0))
            // Who comes later has to learn it before its first delivery.
            let third = try await harness.startWorker()
            try await third.line(containing: "operators' controls are in force")
            let more = CommandSpec.route()
            try await harness.send([more])
            try await until("what is parked") {
                try await harness.ready(
                    in: ParkingQueue.name(of: harness.queues[0], org: OrgID("00D000000000001")!)) == 21
            }
            #expect(paused.allSatisfy { calls(harness, $0) == 0 } && calls(harness, more) == 0)
            #expect(answers.all.count == others.count)

            #expect(try await run(harness, "resume", "--org", "acme").contains("all orgs are live"))
            try await answers.first(others.count + paused.count + 1)
            #expect(answers.all.allSatisfy { $0.outcome == .succeeded })
            #expect(paused.allSatisfy { calls(harness, $0) == 1 })
            #expect(await second.stop() == .code(0))
            #expect(await third.stop() == .code(0))
        }
    }

    @Test("A pause of all survives a broker that is killed; a worker without the right to read controls does not start")
    func pauseOfAll() async throws {
        try await withPrivateBroker { broker in
            try await withHarness(HarnessOptions(settings: Self.settings, brokerURL: broker.url)) { harness in
                let worker = try await harness.startWorker()
                try await run(harness, "pause", "--reason", "incident 4711")
                try await know(1, worker)
                try await broker.letQueuesSettle()
                try await broker.kill()
                try await broker.restart()
                // Also while the stream comes up.
                let second = try await harness.startWorker()
                try await second.line(containing: "incident 4711")
                let answers = try harness.collectAnswers()
                let commands = [CommandSpec.route(), .route(org: "globex")]
                try await harness.send(commands)
                let lots = ["00D000000000001", "00D000000000002"].map {
                    ParkingQueue.name(of: harness.queues[0], org: OrgID($0)!)
                }
                try await until("parked commands") {
                    for lot in lots where try await harness.ready(in: lot) != 1 { return false }
                    return true
                }
                #expect(harness.sandbox.ledger().filter { $0.method == "POST" }.isEmpty)
                // One after another.
                try await run(harness, "resume", "--org", "globex")
                #expect(try await answers.first(1).map(\.requestID) == [commands[1].id])
                try await run(harness, "resume")
                try await answers.first(2)
                #expect(await worker.stop() == .code(0))
                #expect(await second.stop() == .code(0))

                try await broker.ctl(["add_user", "blind", "secret"])
                try await broker.ctl(["set_permissions", "blind", ".*", ".*", "^.*commands.*$"])
                let url = broker.url.replacingOccurrences(of: "guest:guest", with: "blind:secret")
                let run = await Run(try harness.tool("run", environment: ["AMQP_URL": url]))
                #expect(run.exit == .code(78) && run.error.contains("let this user read queue"), "\(run.error)")
            }
        }
    }

    @Test("An org is shadowed, handed on to another consumer, and cut over; a queue that is missing loses nothing")
    func modes() async throws {
        try await withHarness(HarnessOptions(settings: Self.settings)) { harness in
            let workers = [try await harness.startWorker(), try await harness.startWorker()]
            let answers = try harness.collectAnswers()
            var refused = await Run(try harness.tool("mode", ["shadow", "--org", "acme"]))
            #expect(refused.exit == .code(2) && refused.error.contains("--yes"), "\(refused.error)")
            try await run(harness, "mode", "shadow", "--org", "acme", "--yes")
            for worker in workers { try await know(1, worker) }
            let shadowed = CommandSpec.route()
            let invalid = CommandSpec.route(type: "")
            try await harness.send([shadowed, invalid, .route(org: "globex")])
            try await answers.first(1)
            try await until("an empty queue") { try await harness.ready(in: harness.queues[0]) == 0 }
            #expect(calls(harness, shadowed) == 0)

            let legacy = "\(harness.queues[0])-legacy"
            for queue in [harness.results, harness.queues[0], harness.controls, harness.queues[0] + ".parked.x"] {
                refused = await Run(try harness.tool("mode", ["passthrough", "--to", queue]))
                #expect(refused.exit == .code(2) && refused.error.contains("own queues"), "\(refused.error)")
            }
            refused = await Run(try harness.tool("mode", ["passthrough", "--org", "acme", "--to", legacy]))
            #expect(refused.exit == .code(1) && refused.error.contains("no such queue"), "\(refused.error)")
            try await AMQPAdmin.withConnection(harness.broker) { try await $0.declareQueue(legacy) }
            let table = try await run(harness, "mode", "passthrough", "--org", "acme", "--to", legacy)
            #expect(table.contains("passthrough to \(legacy)"), "\(table)")
            for worker in workers { try await know(2, worker) }
            // It is deleted under their hands.
            try await harness.delete(legacy)
            let conversation = newID()
            let handedOn = (0..<10).map { _ in CommandSpec.route(conversation) }
            #expect(await workers[0].stop() == .code(0))
            try await harness.send(handedOn)
            try await workers[1].line(containing: "reason=passthrough-blocked")
            try await AMQPAdmin.withConnection(harness.broker) { try await $0.declareQueue(legacy) }
            try await until("all that was handed on") { try await harness.ready(in: legacy) == handedOn.count }
            let messages = try await harness.take(from: legacy)
            #expect(messages.map(\.requestID) == handedOn.map(\.id))
            #expect(messages.map(\.body) == handedOn.map(\.message.body))
            try await harness.delete(legacy)

            try await run(harness, "mode", "live", "--org", "acme")
            try await know(3, workers[1])
            #expect(try await harness.ask(.route(conversation))[0].outcome == .succeeded)
            // That answer went to its sender.
            #expect(answers.all.count == 1)
            #expect(try await harness.take(from: harness.deadLetters).isEmpty)
            #expect(await workers[1].stop() == .code(0))
        }
    }

    @Test("Six operators at once all take effect; garbage in the stream changes nothing, and the next change mends it")
    func operators() async throws {
        let orgs = (3...8).map { (alias: "org\($0)", id: "00D00000000000\($0)", settings: "") }
        try await withHarness(HarnessOptions(orgs: orgs, settings: Self.settings)) { harness in
            let worker = try await harness.startWorker()
            let children = try orgs.map { try harness.tool("pause", ["--org", $0.alias]) }
            for child in children {
                let run = await Run(child)
                #expect(run.exit == .code(0), "\(run.error)")
            }
            let after = try await state(harness)
            #expect(after?.version == 6 && after?.orgs.count == 6)
            try await know(6, worker)

            let garbage = Message(properties: MessageProperties(deliveryMode: 2, messageID: "g"), body: [1, 2, 3])
            try await harness.publishUntilConfirmed([OutgoingMessage(garbage, routingKey: harness.controls)])
            try await worker.line(containing: "a message among the controls says nothing")
            let second = try await harness.startWorker()
            try await second.line(containing: "version=6")
            #expect(try await state(harness) == after)
            let said = await Run(try harness.tool("pause", ["--org", "org3"]))
            #expect(said.exit == .code(0))
            #expect(try await state(harness)?.version == 7)
            try await know(7, worker, second)

            let newer = Message(
                properties: MessageProperties(deliveryMode: 2, messageID: "n"),
                body: Array(#"{"schemaVersion":99}"#.utf8))
            try await harness.publishUntilConfirmed([OutgoingMessage(newer, routingKey: harness.controls)])
            for command in ["controls", "resume"] {
                let run = await Run(try harness.tool(command, []))
                #expect(run.exit == .code(78) && run.error.contains("schema 99"), "\(run.error)")
            }
            let third = await Run(try harness.tool("run"))
            #expect(third.exit == .code(78) && third.error.contains("schema 99"), "\(third.error)")
            #expect(await worker.stop() == .code(0))
            #expect(await second.stop() == .code(0))
        }
    }

    @Test("Without its stream a worker does not start, and says what to do; without controls it does")
    func missing() async throws {
        try await withHarness(HarnessOptions(settings: Self.settings)) { harness in
            try await harness.delete(harness.controls)
            for command in ["run", "controls", "pause"] {
                let run = await Run(try harness.tool(command, []))
                #expect(run.exit == .code(78) && run.error.contains("topology declare"), "\(run.error)")
                #expect(!run.error.contains("connection to the broker"), "\(run.error)")
            }
            try await AMQPAdmin.withConnection(harness.broker) { try await $0.declareQueue(harness.controls) }
            let run = await Run(try harness.tool("controls", []))
            #expect(
                run.exit == .code(78) && run.error.contains("is no stream: name another `controls.queue`"),
                "\(run.error)")
            let off = await Run(try harness.tool("pause", ["--set", "controls.enabled=false"]))
            #expect(off.exit == .code(78) && off.error.contains("controls.enabled"), "\(off.error)")
            let worker = try harness.tool("run", ["--set", "controls.enabled=false"])
            try await worker.line(containing: "consuming queue=\(harness.queues[0])")
            #expect(await worker.stop() == .code(0))
        }
    }
}
