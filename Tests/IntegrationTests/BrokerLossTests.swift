// What loses messages on a broker: `check` finds it, and the commands that it prints mend it.

import AMQP
import AMQPMessage
import CommandClient
import Foundation
import TestSupport
import Testing

@Suite("What loses messages on a broker", .serialized, .showsWorkerLog, .timeLimit(.minutes(5)))
struct BrokerLossTests {
    @Test("check finds queues, policies and rights that lose messages, and its commands mend them")
    func withManagement() async throws {
        try await withPrivateBroker(plugins: ["rabbitmq_management"]) { broker in
            let management = try #require(broker.managementURL).replacing("//", with: "//guest:guest@")
            var options = HarnessOptions(brokerURL: broker.url)
            options.queues = ["classic", "no-dlx", "no-strategy", "limit"].map { ($0, "{}") }
            try await withHarness(options) { harness in
                let environment = [
                    "AMQP_URL": broker.url.replacing("guest:guest", with: "worker:worker"),
                    "AMQP_MANAGEMENT_URL": management,
                ]
                try await broker.ctl(["add_user", "worker", "worker"])
                try await broker.ctl(["set_permissions", "worker", "", "", "^$"])
                try await remake(harness.queues[0], [:], in: harness)
                try await remake(harness.queues[1], quorum(["x-delivery-limit": .int32(1000)]), in: harness)
                try await remake(
                    harness.queues[2],
                    quorum([
                        "x-delivery-limit": .int32(1000), "x-dead-letter-exchange": .string(""),
                        "x-dead-letter-routing-key": .string(harness.deadLetters),
                    ]), in: harness)
                try await remake(harness.queues[3], quorum(["x-delivery-limit": .int32(3)]), in: harness)
                try await remake(
                    harness.audit, quorum(["x-delivery-limit": .int32(1_000_000), "x-max-length": .int32(9)]),
                    in: harness)
                for (verb, queue, definition) in [
                    ("set_policy", harness.deadLetters, #"{"message-ttl":1000,"max-length":5}"#),
                    ("set_policy", harness.replays, #"{"delivery-limit":3,"overflow":"drop-head"}"#),
                    ("set_operator_policy", harness.results, #"{"max-length":7}"#),
                ] {
                    try await broker.ctl([
                        verb, "--priority", "3", "--apply-to", "queues", queue, "^\(queue)$", definition,
                    ])
                }
                // The tag alone shows it nothing.
                try await broker.ctl(["add_user", "monitor", "monitor"])
                try await broker.ctl(["set_user_tags", "monitor", "monitoring"])
                let monitoring = ["AMQP_MANAGEMENT_URL": management.replacing("guest:guest", with: "monitor:monitor")]
                let blind = await CommandLineTests.Run(try harness.tool("check", environment: monitoring))
                let cure = "rabbitmqctl set_permissions -p / monitor '^$' '^$' '^$'"
                #expect(blind.output.contains(cure), "\(blind.output)")
                try await broker.ctl(["set_permissions", "monitor", "^$", "^$", "^$"])
                let seeing = await CommandLineTests.Run(try harness.tool("check", environment: monitoring))
                #expect(seeing.output.contains("(policy '\(harness.deadLetters)')"), "\(seeing.output)")

                // What is looked at stays as it is.
                let command = CommandSpec.route()
                try await harness.send([command], to: 1)

                var run = await CommandLineTests.Run(try harness.tool("check", environment: environment))
                #expect(run.exit == .code(1))
                for finding in [
                    "queue '\(harness.queues[0])': it is a classic queue",
                    "queue '\(harness.queues[1])': it has no dead-letter exchange",
                    "queue '\(harness.queues[2])': what the broker rejects or has delivered too often can be lost",
                    "queue '\(harness.queues[3])': its delivery limit is 3",
                    "queue '\(harness.audit)': it holds at most 9 messages",
                    "queue '\(harness.deadLetters)': its messages expire after 1s",
                    "queue '\(harness.deadLetters)': it holds at most 5 messages",
                    "queue '\(harness.replays)': its delivery limit is 3",
                    "queue '\(harness.replays)': what the broker rejects or has delivered too often can be lost",
                    "queue '\(harness.results)': it holds at most 7 messages",
                    "user 'worker': it may not publish",
                    "user 'worker': it may not consume from queue '\(harness.queues[0])'",
                ] {
                    #expect(run.output.contains("FAIL  \(finding)"), "\(finding):\n\(run.output)")
                }
                #expect(run.output.contains("\n      user 'worker' may not declare it: run `topology declare` as"))
                #expect(run.output.contains("FAIL  operator policy '\(harness.results)': it sets max-length"))

                try await mend(run.output, at: broker, in: harness)
                run = await CommandLineTests.Run(try harness.tool("check", environment: environment))
                #expect(run.exit == .code(0), "\(run.output)")
                #expect(run.output.contains("ok    queues:") && !run.output.contains("queue '"), "\(run.output)")
                let left = try await harness.take(from: harness.queues[1])
                #expect(left.map(\.requestID) == [command.id])
                #expect([nil, .int64(0)].contains(left.first?.properties.headers["x-delivery-count"]))

                run = await CommandLineTests.Run(
                    try harness.tool("check", environment: ["AMQP_MANAGEMENT_URL": management + "/nothing"]))
                #expect(run.exit == .code(1) && run.output.contains("FAIL  management API: HTTP 4"), "\(run.output)")
                let wrong = management.replacing("guest:guest", with: "guest:a-secret")
                run = await CommandLineTests.Run(try harness.tool("check", environment: ["AMQP_MANAGEMENT_URL": wrong]))
                #expect(run.exit == .code(1) && run.output.contains("set_user_tags"), "\(run.output)")
                #expect(!run.output.contains("a-secret") && !run.error.contains("a-secret"))
            }

            // The worker's own connection tells how queues were declared.
            try await withHarness(options) { harness in
                try await remake(harness.queues[0], [:], durable: false, in: harness)
                try await remake(
                    harness.queues[1], quorum(["x-delivery-limit": .int32(3), "x-message-ttl": .int32(5000)]),
                    in: harness)
                try await remake(harness.results, ["x-max-length": .int32(7)], in: harness)
                try await harness.delete(harness.audit)
                var run = await CommandLineTests.Run(try harness.tool("check"))
                #expect(run.exit == .code(1))
                for finding in [
                    "FAIL  queue '\(harness.queues[0])': it is a classic queue",
                    "FAIL  queue '\(harness.queues[1])': its messages expire after 5s",
                    "FAIL  queue '\(harness.queues[1])': its delivery limit is 3",
                    "FAIL  queue '\(harness.queues[1])': it has no dead-letter exchange",
                    "FAIL  queue '\(harness.results)': it is a classic queue",
                    "FAIL  queue '\(harness.audit)': it is missing",
                    "note  policies: which policies apply to the queues could not be seen",
                ] {
                    #expect(run.output.contains(finding), "\(finding):\n\(run.output)")
                }
                try await mend(run.output, at: broker, in: harness)
                run = await CommandLineTests.Run(try harness.tool("check"))
                #expect(run.exit == .code(0) && run.output.contains("ok    queues:"), "\(run.output)")

                // Who may not configure queues cannot compare them.
                try await broker.ctl(["set_permissions", "worker", "^$", ".*", ".*"])
                let url = broker.url.replacing("guest:guest", with: "worker:worker")
                run = await CommandLineTests.Run(try harness.tool("check", environment: ["AMQP_URL": url]))
                #expect(run.exit == .code(0), "\(run.output)")
                #expect(
                    run.output.contains("note  queue '\(harness.results)': this user may not configure it")
                        && run.output.contains("amqp.managementURL"), "\(run.output)")
            }
        }
    }

    private func quorum(_ arguments: FieldTable) -> FieldTable {
        var arguments = arguments
        arguments["x-queue-type"] = .string("quorum")
        return arguments
    }

    private func remake(
        _ queue: String, _ arguments: FieldTable, durable: Bool = true, in harness: WorkerHarness
    ) async throws {
        _ = try await AMQPAdmin.withConnection(harness.broker) { admin in
            try await admin.deleteQueue(queue)
            try await admin.declareQueue(queue, durable: durable, arguments: arguments)
        }
    }

    /// Runs what `check` says, as an operator would: in a shell, one command after another.
    private func mend(_ output: String, at broker: PrivateBroker, in harness: WorkerHarness) async throws {
        let mark = "      $ "
        let commands = output.split(separator: "\n").filter { $0.hasPrefix(mark) }.map {
            String($0.dropFirst(mark.count))
        }
        let programs = [
            "rabbitmqctl() { \(broker.control.map { "'\($0)'" }.joined(separator: " ")) \"$@\"; }",
            "route-worker() { '\(try ChildProcess.product("route-worker").path)' \"$@\"; }",
        ]
        try await ChildProcess.run(
            URL(fileURLWithPath: "/bin/bash"), ["-ec", (programs + commands).joined(separator: "\n")],
            environment: ["AMQP_URL": broker.url], in: harness.folder.url)
    }
}
