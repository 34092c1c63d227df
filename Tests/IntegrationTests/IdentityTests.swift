// What a RequestId stands for, and until when: duplicates, conflicts, deadlines.

import AMQP
import CommandClient
import Foundation
import RoutingContract
import TestSupport
import Testing

@Suite("RequestIds and deadlines", .serialized, .showsWorkerLog, .timeLimit(.minutes(3)))
struct IdentityTests {
    @Test("An expired command says by how much and is not called for; a corrected one may follow")
    func expired() async throws {
        try await withHarness { harness in
            _ = try await harness.startWorker()
            let late = CommandSpec.route(deadline: -5)
            let answer = try await harness.ask(late)[0]
            #expect(answer.outcome == .expired)
            #expect(answer.reason == "deadline-passed")
            let said = answer.errorMessage ?? ""
            let milliseconds = try #require(Int(said.filter(\.isNumber)), "\(said)")
            #expect(milliseconds >= 5000)
            #expect(answer.attempts == 0)
            #expect(harness.sandbox.effects(of: late.id).requests == 0)
            let letter = try await harness.deadLetter()
            #expect(letter.requestID == late.id && letter.outcome == "expired" && letter.reason == "deadline-passed")
            #expect(letter.body == late.message.body)

            // Another conversation even: nothing binds the RequestId yet.
            let corrected = CommandSpec.route(id: late.id, deadline: 60)
            let second = try await harness.ask(corrected)[0]
            #expect(second.outcome == .succeeded && !second.duplicate)
            #expect(harness.sandbox.effects(of: late.id).created == 1)
        }
    }

    @Test("A deadline too near for a call, an old transfer and a command older than the retention expire too")
    func otherDeadlines() async throws {
        try await withHarness(HarnessOptions(settings: ["store.retention=10m"])) { harness in
            _ = try await harness.startWorker()
            let near = CommandSpec.route(deadline: 0.9)
            let transfer = CommandSpec.route(type: "Transfer", issuedAt: -50)
            let old = CommandSpec.route(issuedAt: -700)
            // The transfer's own deadline counts before the default.
            let extended = CommandSpec.route(type: "Transfer", issuedAt: -50, deadline: 60)
            let answers = try await harness.ask(near, transfer, old, extended)
            #expect(answers.map(\.outcome) == [.expired, .expired, .expired, .succeeded])
            #expect(answers.map(\.reason) == ["deadline-passed", "deadline-passed", "older-than-retention", nil])
            for command in [near, transfer, old] {
                #expect(harness.sandbox.effects(of: command.id).requests == 0)
            }
        }
    }

    @Test("A RequestId with another meaning is a conflict: a dead letter, and no second call")
    func conflict() async throws {
        try await withHarness { harness in
            _ = try await harness.startWorker()
            let first = CommandSpec.route()
            let other = CommandSpec.route(id: first.id)
            let answers = try await harness.ask(first, other, first)
            #expect(answers.map(\.outcome) == [.succeeded, .conflict, .succeeded])
            #expect(answers.map(\.duplicate) == [false, false, true])
            let letter = try await harness.deadLetter()
            #expect(letter.outcome == "conflict" && letter.requestID == first.id)
            #expect(letter.body == other.message.body)
            let count = harness.sandbox.effects(of: first.id)
            #expect(count.requests == 1 && count.effects == 1)
        }
    }

    @Test("A delete may carry the RequestId of a route, and another org's command too")
    func otherKeys() async throws {
        try await withHarness { harness in
            _ = try await harness.startWorker()
            let conversation = newID()
            let route = CommandSpec.route(conversation)
            let answers = try await harness.ask(
                route, .delete(conversation, id: route.id), .route(conversation, org: "globex", id: route.id))
            #expect(answers.map(\.outcome) == [.succeeded, .succeeded, .succeeded])
            #expect(answers.map(\.duplicate) == [false, false, false])
        }
    }

    @Test("A duplicate is answered on its own queue with its own correlation id, without a call")
    func duplicate() async throws {
        try await withHarness { harness in
            _ = try await harness.startWorker()
            let queues = [0, 1].map { _ in CommandSender.replyQueuePrefix + newID() }
            try await AMQPAdmin.withConnection(harness.broker) { admin in
                for queue in queues { try await admin.declareQueue(queue, arguments: ["x-expires": .int32(300_000)]) }
            }
            let command = CommandSpec.route()
            // The same meaning in other bytes, and the RequestId in capitals.
            var again = command
            again.message.body = Array((" " + String(decoding: command.message.body, as: UTF8.self) + "\n").utf8)
            again.message.properties.headers["RequestId"] = .string(command.id.uppercased())
            try await harness.send([
                command.replying(to: queues[0], correlationID: "first"),
                again.replying(to: queues[1], correlationID: "second"),
            ])
            let first = try await harness.collectAnswers(of: queues[0]).first(1)[0]
            let second = try await harness.collectAnswers(of: queues[1]).first(1)[0]
            #expect(first.correlationID == "first" && !first.duplicate)
            #expect(second.correlationID == "second" && second.duplicate)
            #expect(first.outcome == .succeeded && second.outcome == .succeeded)
            #expect(first.messageID == second.messageID)
            #expect(harness.sandbox.effects(of: command.id).requests == 1)
        }
    }

    @Test("Without reply_to the answer goes to the results queue; without a correlation id it carries the RequestId")
    func defaults() async throws {
        try await withHarness { harness in
            _ = try await harness.startWorker()
            let command = CommandSpec.route()
            try await harness.send([command])
            let answer = try await harness.collectAnswers().first(1)[0]
            #expect(answer.requestID == command.id && answer.correlationID == command.id)
        }
    }
}
