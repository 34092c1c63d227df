// `route-worker forget`: what is left of a conversation in a real store.

import CommandClient
import Foundation
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
            run = await Run(try harness.tool("explain", [commands[0].id]))
            #expect(run.output.contains("psrId"))

            run = await Run(try harness.tool("forget", whose))
            #expect(run.exit == .code(0), "\(run.error)")
            #expect(run.output == "removed what was kept of 2 commands, and the delete's mark\n")
            run = await Run(try harness.tool("explain", [commands[0].id]))
            #expect(run.output.contains("outcome     succeeded") && run.output.contains("of a person was removed"))
            #expect(!run.output.contains("psrId"))
            run = await Run(try harness.tool("explain", [commands[2].id]))
            #expect(run.output.contains("psrId"))
            run = await Run(try harness.tool("forget", whose))
            #expect(run.exit == .code(0) && run.output == "removed what was kept of 0 commands\n")

            worker = try await harness.startWorker()
            let answer = try await harness.ask(commands[0])[0]
            #expect(answer.outcome == .succeeded && answer.duplicate)
            #expect(harness.sandbox.ledger().count == calls)
            #expect(await worker.stop() == .code(0))
        }
    }
}
