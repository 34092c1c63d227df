// Messages made to do harm: they are delivered, told to be incomplete, and what comes after them is delivered as well.
import AMQP
import AMQPMessage
import TestSupport
import Testing

@Suite(.timeLimit(.minutes(2))) struct HostileTests {
    private func big(_ number: Int) -> [UInt8] { withUnsafeBytes(of: UInt32(number).bigEndian) { Array($0) } }

    /// Tables in one another, each the only field, with an empty name, of the one around it.
    private func nestedTables(_ levels: Int) -> [UInt8] {
        var bytes: [UInt8] = []
        for level in 0..<levels { bytes += big((levels - level - 1) * 6) + [0, UInt8(ascii: "F")] }
        // The innermost is empty: its length, without a field.
        return Array(bytes.dropLast(2))
    }

    private func nestedArrays(_ levels: Int) -> [UInt8] {
        var bytes = big(levels * 5 + 1) + [0]
        for level in 0..<levels { bytes += [UInt8(ascii: "A")] + big((levels - level - 1) * 5) }
        return bytes
    }

    private func deliveries(
        of properties: [UInt8], arguments: FieldTable = ["x-queue-type": .string("quorum")]
    ) async throws -> [Delivery] {
        try await withQueue(arguments: arguments) { admin, queue in
            let publisher = try RawPublisher(AMQPEndpoint(url: TestBroker.url))
            try publisher.publish(to: queue, properties: properties, body: [1])
            try publisher.publish(to: queue, properties: [0, 0], body: [2])
            try publisher.finish()
            let consumer = try RecordingConsumer([Subscription(queue: queue, prefetch: 10)])
            let deliveries = try await consumer.deliveries(2)
            consumer.consumer.settle(deliveries.map { .ack($0.receipt) })
            await consumer.consumer.close()
            try await until("an empty queue") { try await admin.queue(queue)?.messages == 0 }
            return deliveries
        }
    }

    @Test func tablesNestedTwentyThousandDeep() async throws {
        let deliveries = try await deliveries(of: [0x20, 0] + nestedTables(20_000))
        #expect(deliveries.map(\.isComplete) == [false, true])
        #expect(deliveries.map(\.message.body) == [[1], [2]])
    }

    @Test func arraysNestedTwentyThousandDeep() async throws {
        let deliveries = try await deliveries(of: [0x20, 0] + nestedArrays(20_000))
        #expect(deliveries.map(\.isComplete) == [false, true])
    }

    /// Which takes a broker that was told to let frames be larger than usual.
    @Test func arraysNestedAsDeepAsTheLargestFrameIsLong() async throws {
        let broker = try ScriptedBroker()
        let consumer = try RecordingConsumer([Subscription(queue: "queue", prefetch: 10)], on: broker.url)
        let client = try broker.accept()
        let channel = try client.letConsume()
        try client.deliver(1, properties: [0x20, 0] + nestedArrays(209_000), on: channel)
        try client.deliver(2, on: channel)
        let deliveries = try await consumer.deliveries(2)
        #expect(deliveries.map(\.isComplete) == [false, true])
        #expect(deliveries.map(\.message.body) == [[1], [2]])
        consumer.consumer.closeNow()
    }

    @Test func manyHeadersAndEmptyNames() async throws {
        let field: [UInt8] = [0, UInt8(ascii: "V")]
        let table = (0..<60_000).flatMap { _ in field }
        let deliveries = try await deliveries(of: [0x20, 0] + big(table.count) + table)
        #expect(deliveries.map(\.isComplete) == [true, true])
        #expect(deliveries[0].message.properties.headers.fields.count == 60_000)
    }

    @Test func textThatIsNotUnicode() async throws {
        // message_id and a header name of two bytes that are no UTF-8.
        let deliveries = try await deliveries(
            of: [0x20, 0x80] + big(4) + [2, 0xFF, 0xFE, UInt8(ascii: "V")] + [2, 0xC3, 0x28])
        #expect(deliveries.map(\.isComplete) == [false, true])
    }

    /// The last bit of the property flags announces another word of flags, which librabbitmq looks for in vain. A quorum
    /// queue does not hand it on.
    private let flagsThatClaimToGoOn: [UInt8] = [0x00, 0x81] + [1, UInt8(ascii: "i")]

    @Test func propertyFlagsThatClaimToGoOn() async throws {
        let deliveries = try await deliveries(of: flagsThatClaimToGoOn)
        #expect(deliveries.map(\.message.body) == [[1], [2]])
        #expect(deliveries.map(\.message.properties.messageID) == ["i", nil])
        #expect(deliveries.map(\.isComplete) == [true, true])
    }

    /// A classic queue does, and breaks the connection with it until the message is rejected unread.
    @Test func unreadableMessageIsRejectedAndTheOthersAreDelivered() async throws {
        try await withQueue { admin, dead in
            let classic: FieldTable = [
                "x-queue-type": .string("classic"), "x-dead-letter-exchange": .string(""),
                "x-dead-letter-routing-key": .string(dead),
            ]
            try await withQueue(arguments: classic) { _, quiet in
                try await withQueue(arguments: classic) { admin, queue in
                    let publisher = try RawPublisher(AMQPEndpoint(url: TestBroker.url))
                    try publisher.publish(to: queue, properties: [0, 0], body: [0])
                    try publisher.publish(to: queue, properties: flagsThatClaimToGoOn, body: [1])
                    try publisher.publish(to: queue, properties: [0, 0], body: [2])
                    try publisher.finish()
                    let consumer = try RecordingConsumer([
                        Subscription(queue: queue, prefetch: 10), Subscription(queue: quiet, prefetch: 10),
                    ])
                    let rejected = try await consumer.next("a rejection") { event in
                        if case .rejectedUnread(let queue, _, let routingKey) = event {
                            [queue, routingKey]
                        } else {
                            nil
                        }
                    }
                    #expect(rejected == [queue, queue])
                    var bodies: Set<[UInt8]> = []
                    while bodies.count < 2 {
                        let deliveries = try await consumer.deliveries(1)
                        consumer.consumer.settle(deliveries.map { .ack($0.receipt) })
                        bodies.formUnion(deliveries.map(\.message.body))
                    }
                    #expect(bodies == [[0], [2]])
                    await consumer.consumer.close()
                    try await until("an empty queue") { try await admin.queue(queue)?.messages == 0 }
                }
            }
            try await until("one dead letter") { try await admin.queue(dead)?.messages == 1 }
        }
    }
}
