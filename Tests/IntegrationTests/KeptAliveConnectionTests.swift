// What a broken connection to Salesforce means: at most one call, and the outcome says what is not known.

import CommandClient
import InteractionSandbox
import Testing

@Suite("Kept-alive connection", .serialized, .showsWorkerLog, .timeLimit(.minutes(3)))
struct KeptAliveConnectionTests {
    /// One connection for all calls, so that every call but the first goes out on a kept-alive one.
    private func options(_ policy: String = "report") -> HarnessOptions {
        HarnessOptions(settings: [
            "http.maximumConnections=1", "http.idleTimeout=120s", "defaults.unknownEffect=\(policy)",
        ])
    }

    @Test(
        "A request that was read and not answered is unknown, and is not sent again",
        arguments: [("close", 0), ("reset", 0), ("close-after", 1), ("reset-after", 1), ("cut-body", 1)])
    func unknown(fault: String, effects: Int) async throws {
        try await withHarness(options()) { harness in
            _ = try await harness.startWorker()
            let (first, second, third) = (CommandSpec.route(), CommandSpec.route(), CommandSpec.route())
            #expect(try await harness.ask(first)[0].outcome == .succeeded)

            try harness.sandbox.add(Fault(shorthand: "\(fault)@x1"))
            let answer = try await harness.ask(second)[0]
            #expect(answer.outcome == .unknown)
            #expect(answer.attempts == 1)
            let count = harness.sandbox.effects(of: second.id)
            #expect(count.requests == 1)
            #expect(count.effects == effects)
            #expect(try await harness.deadLetter().outcome == "unknown")

            #expect(try await harness.ask(third)[0].outcome == .succeeded)
            let again = try await harness.ask(second)[0]
            #expect(again.outcome == .unknown && again.duplicate)
            #expect(harness.sandbox.effects(of: second.id).requests == 1)
        }
    }

    @Test(
        "The policy retry calls again, whatever the first call did", arguments: [("reset", 1), ("reset-after", 2)])
    func retry(fault: String, effects: Int) async throws {
        try await withHarness(options("retry")) { harness in
            _ = try await harness.startWorker()
            let (first, second) = (CommandSpec.route(), CommandSpec.route())
            _ = try await harness.ask(first)
            try harness.sandbox.add(Fault(shorthand: "\(fault)@x1"))
            let answer = try await harness.ask(second)[0]
            #expect(answer.outcome == .succeeded)
            #expect(answer.attempts == 2)
            let count = harness.sandbox.effects(of: second.id)
            #expect(count.requests == 2)
            #expect(count.effects == effects)
        }
    }

    @Test("The policy clear-then-route clears under another RequestId, and leaves one routing")
    func clearThenRoute() async throws {
        try await withHarness(options("clear-then-route")) { harness in
            _ = try await harness.startWorker()
            let conversation = newID()
            let route = CommandSpec.route(conversation)
            _ = try await harness.ask(.route())
            try harness.sandbox.add(Fault(shorthand: "reset-after@x1"))
            #expect(try await harness.ask(route)[0].outcome == .succeeded)

            let calls = harness.sandbox.ledger(LedgerFilter(conversation: conversation))
            #expect(calls.map(\.method) == ["POST", "DELETE", "POST"])
            #expect(calls.map(\.effect) == [.created, .cleared, .created])
            #expect(calls[0].requestID == route.id && calls[2].requestID == route.id)
            #expect(calls[1].requestID != route.id)
            #expect(harness.sandbox.routings(conversation: conversation).count { $0.state == .waiting } == 1)
        }
    }

    @Test("The policy clear-then-route only reports a transfer")
    func transferIsReported() async throws {
        try await withHarness(options("clear-then-route")) { harness in
            _ = try await harness.startWorker()
            let transfer = CommandSpec.route(type: "Transfer")
            _ = try await harness.ask(.route())
            try harness.sandbox.add(Fault(shorthand: "reset-after@x1"))
            #expect(try await harness.ask(transfer)[0].outcome == .unknown)
            #expect(harness.sandbox.effects(of: transfer.id).requests == 1)
        }
    }

    @Test("The call timeout of the settings counts for the whole call, however slow a part of it is")
    func slowAnswer() async throws {
        let options = HarnessOptions(settings: ["defaults.callTimeout=39s"])
        try await withHarness(options) { harness in
            _ = try await harness.startWorker()
            // Some 180 bytes of answer: longer than the pool by itself would wait for a body, 10 s.
            var slow = Fault(.slowBody, next: 1)
            slow.byteIntervalMilliseconds = 80
            try harness.sandbox.add(slow)
            let route = CommandSpec.route()
            let answer = try await harness.ask(route)[0]
            #expect(answer.outcome == .succeeded)
            #expect(harness.sandbox.effects(of: route.id).requests == 1)
        }
    }
}
