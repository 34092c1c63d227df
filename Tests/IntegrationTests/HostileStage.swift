// A worker under attack: what every test with hostile messages needs beside the harness.

import AMQP
import AMQPMessage
import Foundation
import TestSupport
import Testing

/// A harness with a publisher of any message, and with an inbox that takes in all that the worker says.
struct HostileStage: Sendable {
    /// Over this a body is refused; high enough for 100,000 keys, low enough for 10 MB.
    static let maximumBody = 4 << 20
    /// Answer queues that the worker may use start so.
    static let replyPrefix = "hostile-replies."
    /// Far over what a worker needs (some 100 MB when built for debugging), far under what a leak of bodies would take.
    static let memoryLimit = 600 << 20

    let harness: WorkerHarness
    /// An answer queue that the worker may use; declared.
    let replies: String
    let inbox: Inbox
    let publisher: AMQPPublisher
    let endpoint: AMQPEndpoint

    var commands: String { harness.queues[0] }

    /// Publishes to the commands queue; throws unless the broker has all of them.
    func send(_ messages: [Message]) async throws {
        // A few at a time: not all bodies fit into the publisher's queue.
        for start in stride(from: 0, to: messages.count, by: 100) {
            let batch = messages[start..<min(start + 100, messages.count)]
            let outcomes = await publisher.publish(
                batch.map { OutgoingMessage($0, routingKey: commands) }, timeout: .seconds(60))
            for outcome in outcomes where outcome != .confirmed {
                throw HostileFailure(description: "the broker did not take a message: \(outcome)")
            }
        }
    }

    /// One more command is answered, memory and connections are as they should be, the worker drains as a healthy one
    /// does, and leaves nothing in its queue.
    func checkHealth(of worker: ChildProcess) async throws {
        let last = Self.validRoute()
        try await send([last])
        let came = try await inbox.wait { $0.withoutAnswer([last]) }
        #expect(came.answer(last.properties.correlationID)?.outcome == .succeeded)
        let peak = try worker.peakMemory
        print("peak memory of the worker: \(peak >> 20) MB")
        #expect(peak < Self.memoryLimit)
        #expect(worker.log("lost the connection to the broker", "connection=consumer").isEmpty)
        #expect(await worker.stop() == .code(0))
        #expect(worker.log("the drain took too long").isEmpty)
        #expect(try await harness.left(in: commands) == 0)
    }

    /// A valid route of a conversation of its own.
    static func validRoute() -> Message {
        let id = newID()
        return Message(
            properties: MessageProperties(
                contentType: "application/json", headers: ["RequestId": .string(id), "OrgId": .string("acme")],
                deliveryMode: 2, correlationID: id, type: "route"),
            body: Array(#"{"conversationIdentifier":"\#(newID())","routingType":"Initial"}"#.utf8))
    }
}

/// What keeps a test from going on.
struct HostileFailure: Error, CustomStringConvertible {
    var description: String
}

/// Sets a stage up; the worker is started by the test.
func withHostileStage(_ body: (HostileStage) async throws -> Void) async throws {
    var options = HarnessOptions()
    options.settings = [
        "commands.maximumBody=\(HostileStage.maximumBody)B", "worker.concurrency=16",
        "answers.allowReplyTo=amq.rabbitmq.reply-to, \(HostileStage.replyPrefix)*",
    ]
    try await withHarness(options) { harness in
        let replies = HostileStage.replyPrefix + harness.results
        try await AMQPAdmin.withConnection(harness.broker) { admin in
            try await admin.declareQueue(replies, durable: false, arguments: ["x-expires": .int32(600_000)])
        }
        let inbox = Inbox(deadLetters: harness.deadLetters)
        let publisher = try AMQPPublisher(harness.broker)
        publisher.start()
        let consumer = try AMQPConsumer(
            harness.broker,
            subscriptions: [harness.results, harness.deadLetters, replies].map {
                Subscription(queue: $0, prefetch: 100)
            }
        ) { inbox.take($0) }
        inbox.acknowledge(with: { consumer.settle($0) })
        consumer.start()
        let stage = HostileStage(
            harness: harness, replies: replies, inbox: inbox, publisher: publisher,
            endpoint: try AMQPEndpoint(url: harness.brokerURL))
        do {
            try await body(stage)
        } catch {
            inbox.acknowledge(with: { _ in })
            await consumer.close()
            throw error
        }
        inbox.acknowledge(with: { _ in })
        await consumer.close()
        await publisher.close()
        try await harness.delete(replies)
    }
}

extension ChildProcess {
    /// The most memory that it has held so far, in bytes.
    var peakMemory: Int {
        get throws {
            let status = try String(contentsOfFile: "/proc/\(processID)/status", encoding: .utf8)
            let line = status.split(separator: "\n").first { $0.hasPrefix("VmHWM:") }
            guard let kilobytes = line?.split(whereSeparator: \.isWhitespace).dropFirst().first.flatMap({ Int($0) })
            else { throw HostileFailure(description: "no VmHWM for process \(processID)") }
            return kilobytes * 1024
        }
    }

    /// Lines of its log that hold all of these words.
    func log(_ words: String...) -> [String] {
        transcript.split(separator: "\n").map(String.init).filter { line in words.allSatisfy { line.contains($0) } }
    }
}
