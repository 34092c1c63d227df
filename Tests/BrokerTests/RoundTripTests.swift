// What goes in comes out: bodies, properties, and header tables of every field type.
import AMQP
import AMQPMessage
import Foundation
import TestSupport
import Testing

@Suite(.timeLimit(.minutes(2))) struct RoundTripTests {
    private let everyType: FieldTable = [
        "void": .void, "true": .boolean(true), "false": .boolean(false), "int8": .int8(-8), "uint8": .uint8(200),
        "int16": .int16(-1600), "uint16": .uint16(60_000), "int32": .int32(-3_200_000),
        "uint32": .uint32(4_000_000_000),
        "int64": .int64(.min), "uint64": .uint64(.max), "float": .float(1.5), "double": .double(-2.25),
        "decimal": .decimal(scale: 2, value: 314), "string": .string("Grüße"),
        "malformed": .malformedString([0xFF, 0xFE]),
        "bytes": .bytes([0, 1, 2, 255]), "timestamp": .timestamp(1_700_000_000),
        "array": .array([.int32(1), .string("two"), .array([]), .table(["a": .void])]),
        "table": .table(["inner": .table(["": .string("empty key")])]), "": .string("empty key"),
    ]

    private func roundTrip(_ message: Message) async throws -> Message {
        try await withQueue { admin, queue in
            try await withPublisher { publisher in
                let sent = OutgoingMessage(message, routingKey: queue)
                #expect(await publisher.publish(sent, timeout: .seconds(20)) == .confirmed)
            }
            let consumer = try RecordingConsumer([Subscription(queue: queue, prefetch: 1)])
            let delivery = try #require(try await consumer.deliveries(1).first)
            #expect(delivery.isComplete)
            #expect(delivery.queue == queue && delivery.routingKey == queue && delivery.exchange == "")
            #expect(!delivery.redelivered)
            consumer.consumer.settle([.ack(delivery.receipt)])
            await consumer.consumer.close()
            #expect(try await admin.queue(queue)?.messages == 0)
            return delivery.message
        }
    }

    @Test func everyPropertyAndFieldTypeComesBack() async throws {
        let properties = MessageProperties(
            contentType: "application/json", contentEncoding: "identity", headers: everyType, deliveryMode: 2,
            priority: 3,
            correlationID: "correlation", replyTo: "reply.queue", expiration: "60000", messageID: "message",
            timestamp: 1_700_000_001, type: "route", userID: "guest", appID: "app", clusterID: "cluster")
        let message = Message(properties: properties, body: Array("body".utf8))
        #expect(try await roundTrip(message) == message)
    }

    @Test func emptyBodyComesBack() async throws {
        let message = Message(properties: MessageProperties(messageID: "empty"), body: [])
        #expect(try await roundTrip(message) == message)
    }

    @Test func bodyOfTenMegabytesComesBack() async throws {
        let message = Message(
            properties: MessageProperties(messageID: "large"),
            body: (0..<10_000_000).map { UInt8(truncatingIfNeeded: $0 * 7) })
        #expect(try await roundTrip(message) == message)
    }

    @Test func bodyOverTheLimitIsCountedAndNotKept() async throws {
        try await withQueue { _, queue in
            try await withPublisher { publisher in
                let large = String(repeating: "x", count: 300_000)
                let outcomes = await publisher.publish(
                    [outgoing(large, to: queue), outgoing("small", to: queue)], timeout: .seconds(20))
                #expect(outcomes == [.confirmed, .confirmed])
            }
            let consumer = try RecordingConsumer([Subscription(queue: queue, prefetch: 10, bodyLimit: 100)])
            let deliveries = try await consumer.deliveries(2)
            #expect(deliveries.map(\.skippedBodyBytes) == [300_000, nil])
            #expect(deliveries.map(\.text) == ["", "small"])
            await consumer.consumer.close()
        }
    }

    @Test func adminTakesAMessageOrLeavesIt() async throws {
        try await withQueue { admin, queue in
            #expect(try await admin.get(from: queue) == nil)
            try await withPublisher { publisher in
                #expect(await publisher.publish(outgoing("", to: queue), timeout: .seconds(20)) == .confirmed)
                #expect(await publisher.publish(outgoing("second", to: queue), timeout: .seconds(20)) == .confirmed)
            }
            let first = try #require(try await admin.get(from: queue))
            #expect(first.message.body.isEmpty && first.remaining == 1)
            let held = try #require(try await admin.get(from: queue, removing: false))
            #expect(held.message.body == Array("second".utf8))
            // A refused call costs the channel, which hands the message back.
            await #expect(throws: AMQPError.self) { try await admin.purgeQueue("no-such-queue-\(queue)") }
            let again = try #require(try await admin.get(from: queue))
            #expect(again.redelivered && again.message.body == Array("second".utf8))
        }
    }
}
