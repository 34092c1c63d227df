// Commands of one conversation: in order, one at a time, and not at all where a later delete made them pointless.

import CommandClient
import Foundation
import InteractionSandbox
import RoutingContract
import TestSupport
import Testing

@Suite("Order", .serialized, .showsWorkerLog, .timeLimit(.minutes(3)))
struct OrderTests {
    @Test("Conversations run beside each other, each in its order and one command at a time")
    func order() async throws {
        let options = HarnessOptions(settings: [
            "worker.concurrency=16", "defaults.retry.minimum=20ms", "defaults.retry.maximum=100ms",
        ])
        try await withHarness(options) { harness in
            try harness.sandbox.add(Fault(shorthand: "503@5%"))
            try harness.sandbox.add(Fault(shorthand: "latency=20-60"))
            let worker = try await harness.startWorker()
            let answers = try harness.collectAnswers()
            let conversations = (0..<25).map { _ in newID() }
            var commands: [CommandSpec] = []
            for turn in 0..<12 {
                for conversation in conversations.shuffled() {
                    commands.append(turn % 4 == 3 ? .delete(conversation) : .route(conversation))
                }
            }
            try await harness.send(commands)
            #expect(try await answers.first(commands.count).allSatisfy { $0.outcome == .succeeded })
            #expect(await worker.stop() == .code(0))

            for conversation in conversations {
                let sent = commands.filter { $0.conversation == conversation }.map(\.id)
                let calls = harness.sandbox.ledger(LedgerFilter(conversation: conversation))
                // An attempt that met the 503 comes again, before anything else of the conversation.
                #expect(calls.compactMap(\.requestID).withoutRepetitions == sent)
                // The answer to a call leaves at least 20 ms after it came, so the next cannot come before.
                let times = try calls.map { try $0.moment }
                let gaps = zip(zip(calls, times), times.dropFirst()).filter { $0.0.0.status != 503 }
                #expect(gaps.allSatisfy { $1.timeIntervalSince($0.1) >= 0.018 })
            }
        }
    }

    @Test("A route with a later delete behind it is superseded, without a call")
    func superseded() async throws {
        try await withHarness { harness in
            try harness.sandbox.add(Fault(shorthand: "latency=300"))
            let conversation = newID()
            // Nobody knows whether it is older than the delete. While it is called for, the others arrive.
            let withoutTime = CommandSpec.route(conversation)
            let pointless = CommandSpec.route(conversation, issuedAt: -2)
            let delete = CommandSpec.delete(conversation, issuedAt: -1)
            // Newer than the delete: not superseded, and called for after it.
            let next = CommandSpec.route(conversation, issuedAt: 0)
            // Sent before the worker starts, so that all are there when it looks.
            try await harness.send([withoutTime, pointless, delete, next])
            let answers = try harness.collectAnswers()
            let worker = try await harness.startWorker()
            try await answers.first(4)
            #expect(await worker.stop() == .code(0))

            var outcomes: [String: Outcome] = [:]
            for answer in answers.all { outcomes[answer.requestID ?? ""] = answer.outcome }
            #expect(outcomes[pointless.id] == .superseded)
            for command in [withoutTime, delete, next] { #expect(outcomes[command.id] == .succeeded) }
            #expect(harness.sandbox.effects(of: pointless.id).requests == 0)
            #expect(harness.sandbox.effects(of: delete.id).cleared == 1)
            #expect(try await harness.take(from: harness.deadLetters).isEmpty)
            let waiting = harness.sandbox.routings(conversation: conversation).filter { $0.state == .waiting }
            #expect(waiting.count == 1)
        }
    }

    @Test("A route that comes after a later delete was made is superseded too")
    func overtaken() async throws {
        try await withHarness { harness in
            _ = try await harness.startWorker()
            let conversation = newID()
            let late = CommandSpec.route(conversation, issuedAt: -10)
            let answers = try await harness.ask(
                .route(conversation, issuedAt: -20), .delete(conversation, issuedAt: -5), late)
            #expect(answers.map(\.outcome) == [.succeeded, .succeeded, .superseded])
            #expect(harness.sandbox.effects(of: late.id).requests == 0)
        }
    }
}

extension CommandSpec {
    fileprivate var conversation: String? {
        try? JSONScanner(maximumDepth: 8).scan(message.body).root["conversationIdentifier"]?.string
    }
}

extension LedgerEntry {
    fileprivate var moment: Date {
        get throws { try Date(time, strategy: Date.ISO8601FormatStyle(includingFractionalSeconds: true)) }
    }
}

extension [String] {
    fileprivate var withoutRepetitions: [String] {
        reduce(into: []) { if $0.last != $1 { $0.append($1) } }
    }
}
