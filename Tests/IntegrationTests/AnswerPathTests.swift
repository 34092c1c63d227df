// Answers and dead letters that cannot be placed: nothing is lost, and nobody else waits.

import AMQP
import AMQPMessage
import CommandClient
import RoutingContract
import TestSupport
import Testing

@Suite("Answers that cannot be placed", .serialized, .showsWorkerLog, .timeLimit(.minutes(3)))
struct AnswerPathTests {
    @Test("A reply queue that does not exist makes one dead letter, and the command is acknowledged")
    func unroutable() async throws {
        try await withHarness { harness in
            let worker = try await harness.startWorker()
            let command = CommandSpec.route().replying(to: CommandSender.replyQueuePrefix + newID())
            try await harness.send([command])
            let letter = try await harness.deadLetter()
            #expect(letter.requestID == command.id)
            #expect(letter.reason == "answer-unroutable" && letter.outcome == "succeeded")
            #expect(letter.body == command.message.body)
            #expect(harness.sandbox.effects(of: command.id).effects == 1)
            #expect(await worker.stop() == .code(0))
            #expect(try await harness.left(in: harness.queues[0]) == 0)
            #expect(try await harness.take(from: harness.deadLetters).isEmpty)
        }
    }

    @Test("A failure with an unroutable answer makes one dead letter, not two")
    func unroutableFailure() async throws {
        try await withHarness { harness in
            let worker = try await harness.startWorker()
            let command = CommandSpec.route(deadline: -5).replying(to: CommandSender.replyQueuePrefix + newID())
            try await harness.send([command])
            let letter = try await harness.deadLetter()
            #expect(letter.reason == "answer-unroutable" && letter.outcome == "expired")
            #expect(await worker.stop() == .code(0))
            #expect(try await harness.take(from: harness.deadLetters).isEmpty)
        }
    }

    @Test(
        "A body far beyond the largest is answered, is not kept in memory, and ends untouched in the dead-letter queue")
    func hugeBody() async throws {
        try await withHarness { harness in
            let worker = try await harness.startWorker()
            let answers = try harness.collectAnswers()
            var huge = CommandSpec.route()
            huge.message.body = Array(repeating: 0x20, count: 2 << 20) + huge.message.body
            let after = CommandSpec.route()
            try await harness.send([huge, after])
            try await answers.answered(2)
            let answer = try #require(answers.all.first { $0.requestID == huge.id })
            #expect(answer.outcome == .invalid && answer.reason == "body-too-large")
            #expect(answers.all.contains { $0.requestID == after.id && $0.outcome == .succeeded })
            // Not the worker's own dead letter: it has nothing to put into it.
            let letter = try await harness.deadLetter()
            #expect(letter.body == huge.message.body && letter.outcome == nil)
            #expect(await worker.stop() == .code(0))
            #expect(try await harness.left(in: harness.queues[0]) == 0)
        }
    }

    @Test("A reply_to that is not allowed is invalid; the answer goes to the results queue")
    func notAllowed() async throws {
        try await withHarness { harness in
            _ = try await harness.startWorker()
            let commands = [harness.queues[0], harness.deadLetters, "elsewhere"].map {
                CommandSpec.route().replying(to: $0)
            }
            try await harness.send(commands)
            let answers = try await harness.collectAnswers().first(3)
            #expect(answers.allSatisfy { $0.outcome == .invalid && $0.reason == "reply-not-allowed" })
            #expect(Set(answers.compactMap(\.requestID)) == Set(commands.map(\.id)))
            #expect(harness.sandbox.ledger().isEmpty)
        }
    }

    @Test("Without a dead-letter queue a failed command stays; others go on; once there is one, it is placed")
    func noDeadLetterQueue() async throws {
        try await withHarness { harness in
            try await harness.delete(harness.deadLetters)
            var worker = try await harness.startWorker()
            // Said before anything fails.
            try await worker.line { $0.contains("a queue is missing") && $0.contains(harness.deadLetters) }
            let failing = CommandSpec.route(deadline: -5)
            // Its answer has nowhere to go either, and its call has been made.
            let called = CommandSpec.route().replying(to: CommandSender.replyQueuePrefix + newID())
            try await harness.send([failing, called])
            try await worker.line { $0.contains("the dead letter has nowhere to go") && $0.contains(failing.id) }
            try await worker.line { $0.contains("the dead letter has nowhere to go") && $0.contains(called.id) }
            #expect(try await harness.ask(.route(), .route()).allSatisfy { $0.outcome == .succeeded })
            #expect(await worker.stop() == .code(0))
            #expect(try await harness.left(in: harness.queues[0]) == 2)

            worker = try await harness.startWorker()
            try await worker.line(containing: "the dead letter has nowhere to go")
            // The worker, still running, finds it when it tries again.
            #expect(await (try harness.tool("topology", "declare")).exit() == .code(0))
            let letters = [try await harness.deadLetter(), try await harness.deadLetter()]
            #expect(Set(letters.map(\.requestID)) == [failing.id, called.id])
            #expect(Set(letters.map(\.outcome)) == ["expired", "succeeded"])
            #expect(harness.sandbox.effects(of: called.id).requests == 1)
            #expect(await worker.stop() == .code(0))
            #expect(try await harness.left(in: harness.queues[0]) == 0)
        }
    }

    @Test("A results queue that is full makes a dead letter of the command, after some attempts")
    func resultsFull() async throws {
        // Classic: a quorum queue takes somewhat more than its limit.
        let options = HarnessOptions(resultsArguments: [
            "x-queue-type": .string("classic"), "x-max-length": .int32(1), "x-overflow": .string("reject-publish"),
        ])
        try await withHarness(options) { harness in
            let worker = try await harness.startWorker()
            let (first, second) = (CommandSpec.route(), CommandSpec.route())
            try await harness.send([first])
            try await until("the answer that fills the queue") {
                try await harness.ready(in: harness.results) == 1
            }
            try await harness.send([second])
            try await worker.line(containing: "the broker refused the answer; it is published again")
            let letter = try await harness.deadLetter()
            #expect(letter.requestID == second.id)
            #expect(letter.reason == "answer-unroutable" && letter.outcome == "succeeded")
            try await worker.line(containing: "the answer has nowhere to go; its command becomes a dead letter")
            #expect(harness.sandbox.effects(of: second.id).effects == 1)
            #expect(await worker.stop() == .code(0))
            #expect(try await harness.left(in: harness.queues[0]) == 0)

            // Announced again, it needs no call.
            #expect(try await harness.take(from: harness.results).map(\.requestID) == [first.id])
            _ = try await harness.startWorker()
            let again = try await harness.ask(second)[0]
            #expect(again.outcome == .succeeded && again.duplicate)
            #expect(harness.sandbox.effects(of: second.id).requests == 1)
        }
    }
}
