// Parking queues on a real broker, as the pipeline sees them.

import AMQP
import AMQPMessage
import RouteWorker
import TestSupport
import Testing

@Suite("Parking queues", .serialized, .timeLimit(.minutes(3)))
struct ParkingQueueTests {
    @Test("A parking queue that cannot be looked at hides no other")
    func oneOfSomebodyElse() async throws {
        let configuration = try AMQPConfiguration(urls: [TestBroker.url], connectionName: "parking-queue-tests")
        let (events, post) = AsyncStream.makeStream(of: ConsumerEvent.self)
        let other = try AMQPConsumer(configuration, subscriptions: []) { post.yield($0) }
        let lots = try BrokerParkingLots(configuration, lockHolder: other, deadLetterQueue: "dead-letters") { _ in }
        let (locked, lot) = (uniqueName("locked"), uniqueName("commands.parked"))
        #expect(await lots.prepare(lot) == .ready)
        other.start()
        other.acquire(locked)
        for await event in events {
            if case .lockHeld = event { break }
            // There was no connection yet.
            if case .lockRefused = event { other.acquire(locked) }
        }
        #expect(await lots.messages(in: [locked, lot, "missing"]) == [lot: 0])
        await other.close()
        await lots.close()
        try await AMQPAdmin.withConnection(configuration) { try await $0.deleteQueue(lot) }
    }

    @Test("A parking queue without a leader, which the broker counts nothing in, is not taken for an empty one")
    func withoutLeader() async throws {
        try await withPrivateBroker { broker in
            let configuration = try AMQPConfiguration(urls: [broker.url], connectionName: "parking-queue-tests")
            let lockHolder = try AMQPConsumer(configuration, subscriptions: []) { _ in }
            let (events, post) = AsyncStream.makeStream(of: ConsumerEvent.self)
            let lots = try BrokerParkingLots(configuration, lockHolder: lockHolder, deadLetterQueue: "dead-letters") {
                post.yield($0)
            }
            lots.start()
            let lot = "commands.parked.00D000000000001"
            #expect(await lots.prepare(lot) == .ready)
            // Nobody consumes it, so nobody knows.
            #expect(await !lots.areEmpty([lot]))
            lots.subscribe(lot, prefetch: 1, lock: nil)
            for await case .subscribed in events { break }
            #expect(await lots.areEmpty([lot, "missing"]))

            let publisher = try AMQPPublisher(configuration)
            publisher.start()
            let messages = ["a", "b"].map { id in
                OutgoingMessage(Message(properties: MessageProperties(messageID: id), body: []), routingKey: lot)
            }
            #expect(await publisher.publish(messages, timeout: .seconds(30)) == [.confirmed, .confirmed])
            #expect(await !lots.areEmpty([lot]))
            try await broker.letQueuesSettle()
            try await broker.stopLeader(of: lot)
            #expect(await lots.messages(in: [lot]) == [lot: 0])
            #expect(await !lots.areEmpty([lot]))
            await publisher.close()
            await lots.close()
        }
    }
}
