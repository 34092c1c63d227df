// `route-worker forget`: what is left of a conversation among real dead letters and in a real store.

import AMQPMessage
import CommandClient
import DeadLetters
import Failpoints
import Foundation
import RoutingContract
import TestSupport
import Testing

@Suite("forget", .serialized, .showsWorkerLog, .timeLimit(.minutes(3)))
struct ForgetTests {
    private typealias Run = CommandLineTests.Run

    @Test("It removes answers and the conversation, and says how many; RequestIds stay used")
    func forget() async throws {
        try await withHarness { harness in
            var worker = try await harness.startWorker()
            let conversation = newID()
            let commands = [CommandSpec.route(conversation), .delete(conversation, issuedAt: 0), .route()]
            for command in commands { _ = try await harness.ask(command) }
            #expect(await worker.stop() == .code(0))
            let calls = harness.sandbox.ledger().count

            let whose = ["--org", "acme", "--conversation", conversation]
            var run = await Run(try harness.tool("forget", whose + ["--dry-run"]))
            #expect(run.exit == .code(0) && run.output.contains("would remove what is kept of 2 commands"))
            #expect(run.output.contains("would remove 0 of 0 dead letters that match, of 0"))
            run = await Run(try harness.tool("explain", [commands[0].id]))
            #expect(run.output.contains("psrId"))

            run = await Run(try harness.tool("forget", whose))
            #expect(run.exit == .code(0), "\(run.error)")
            #expect(run.output.hasSuffix("\nremoved what was kept of 2 commands, and the delete's mark\n"))
            run = await Run(try harness.tool("explain", [commands[0].id]))
            #expect(run.output.contains("outcome     succeeded") && run.output.contains("of a person was removed"))
            #expect(!run.output.contains("psrId"))
            run = await Run(try harness.tool("explain", [commands[2].id]))
            #expect(run.output.contains("psrId"))
            run = await Run(try harness.tool("forget", whose))
            #expect(run.exit == .code(0) && run.output.hasSuffix("\nremoved what was kept of 0 commands\n"))

            worker = try await harness.startWorker()
            let answer = try await harness.ask(commands[0])[0]
            #expect(answer.outcome == .succeeded && answer.duplicate)
            #expect(harness.sandbox.ledger().count == calls)
            #expect(await worker.stop() == .code(0))
        }
    }

    /// As a worker leaves it behind.
    private func letter(_ command: CommandSpec) -> Message {
        var message = command.message
        message.properties.headers[HeaderName.outcome] = .string("rejected")
        message.properties.headers[HeaderName.deadLetteredAt] = .string("2026-03-01T12:00:00.000Z")
        message.properties.messageID = newID()
        return message
    }

    private func publish(_ letters: [Message], _ harness: WorkerHarness) async throws {
        try await harness.publishUntilConfirmed(
            letters.map { OutgoingMessage($0, routingKey: harness.deadLetters) })
    }

    @Test("It removes the conversation's dead letters, and the trail does not say whose they were")
    func deadLetters() async throws {
        try await withHarness { harness in
            // The store is there, and knows nothing.
            #expect(try await harness.startWorker().stop() == .code(0))
            let conversation = "of-\(newID())"
            let forgotten = [
                CommandSpec.route(conversation), .delete(conversation, org: "00D000000000001AAA"),
                .route(conversation, org: "nobody", id: conversation),
            ]
            let others = [CommandSpec.route(conversation, org: "globex"), .route()]
            var broken = letter(.route(conversation))
            broken.body = Array("{".utf8)
            let kept = [broken] + others.map(letter)
            try await publish(forgotten.map(letter) + kept, harness)

            let whose = ["--org", "acme", "--conversation", conversation, "--reason", "asked for"]
            var run = await Run(try harness.tool("forget", whose + ["--dry-run"]))
            #expect(run.exit == .code(0) && run.output.contains("would remove 3 of 3"), "\(run.output)\(run.error)")
            #expect(try await harness.ready(in: harness.deadLetters) == 6)
            run = await Run(try harness.tool("forget", whose))
            #expect(
                run.exit == .code(0) && run.output.contains("removed 3 of 3 dead letters that match, of 6"),
                "\(run.output)\(run.error)")
            #expect(try await harness.take(from: harness.deadLetters).map(\.body) == kept.map(\.body))

            let trail = try await harness.take(from: harness.audit)
            let entries = trail.compactMap { TrailEntry($0) }
            #expect(entries.count == 3 && entries.allSatisfy { $0.action == .forget && $0.reason == "asked for" })
            #expect(entries.map(\.requestID) == [forgotten[0].id, forgotten[1].id, nil])
            #expect(!trail.contains { String(decoding: $0.body, as: UTF8.self).contains(conversation) })
        }
    }

    @Test("Ctrl-C among the dead letters does not go on to the store")
    func interrupted() async throws {
        try await withHarness { harness in
            let worker = try await harness.startWorker()
            let command = CommandSpec.route()
            _ = try await harness.ask(command)
            #expect(await worker.stop() == .code(0))
            let conversation = try #require(harness.sandbox.ledger().first?.conversation)
            // More than come in one batch.
            try await publish((0..<1500).map { _ in letter(.route(conversation)) }, harness)

            let whose = ["--org", "acme", "--conversation", conversation]
            let forget = try harness.tool(
                "forget", "--org", "acme", "--conversation", conversation,
                environment: [Failpoint.variable: Failpoint.afterConfirm.rawValue + ":stop"])
            try await until("one that stands still") { try forget.isStopped }
            forget.send(SIGINT)
            forget.send(SIGCONT)
            var run = await Run(forget)
            #expect(run.exit == .code(1) && run.output.contains("interrupted"), "\(run.output)\(run.error)")
            #expect(!run.output.contains("what was kept of"))
            run = await Run(try harness.tool("explain", [command.id]))
            #expect(run.output.contains("psrId"))

            run = await Run(try harness.tool("forget", whose))
            #expect(run.exit == .code(0) && run.output.hasSuffix("\nremoved what was kept of 1 command\n"))
            #expect(try await harness.ready(in: harness.deadLetters) == 0)
        }
    }
}
