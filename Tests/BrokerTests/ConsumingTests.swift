// Subscriptions live, die and come back; acks are merged; closing keeps the order.
import AMQP
import AMQPMessage
import Foundation
import TestSupport
import RoutingContract
import Testing

@Suite(.timeLimit(.minutes(2))) struct ConsumingTests {
    private let timeout: Duration = .seconds(20)

    @Test func tenThousandMessagesAreAckedOutOfOrder() async throws {
        let seed = UInt64.random(in: .min ... .max)
        print("seed \(seed)")
        var random = SeededGenerator(seed: seed)
        // A classic queue takes every ack before the end of its channel. A quorum queue's channel (RabbitMQ 3.10) keeps a
        // burst of acks back and forgets them when it closes: seen here, some hundred of them came again.
        try await withQueue(arguments: ["x-queue-type": .string("classic")]) { admin, queue in
            let count = 10_000
            try await withPublisher { publisher in
                let outcomes = await publisher.publish(
                    (0..<count).map { outgoing("\($0)", to: queue) }, timeout: .seconds(60))
                #expect(outcomes.allSatisfy { $0 == .confirmed })
            }
            let consumer = try RecordingConsumer([Subscription(queue: queue, prefetch: 500)])
            var seen: Set<String> = []
            var held: [Delivery] = []
            for await event in consumer.events {
                guard case .deliveries(let batch) = event else { continue }
                for delivery in batch { #expect(seen.insert(delivery.text).inserted) }
                held += batch
                held.shuffle(using: &random)
                let settled = seen.count == count ? held.count : held.count * 2 / 3
                consumer.consumer.settle(held.prefix(settled).map { .ack($0.receipt) })
                held.removeFirst(settled)
                if seen.count == count { break }
            }
            await consumer.consumer.close(within: timeout)
            try await until("an empty queue") { try await admin.queue(queue)?.messages == 0 }
        }
    }

    @Test func rejectedMessagesGoToTheDeadLetterExchange() async throws {
        try await withQueue { admin, dead in
            let arguments: FieldTable = [
                "x-dead-letter-exchange": .string(""), "x-dead-letter-routing-key": .string(dead),
            ]
            try await withQueue(arguments: arguments) { admin, queue in
                try await withPublisher { publisher in
                    _ = await publisher.publish((0..<4).map { outgoing("\($0)", to: queue) }, timeout: timeout)
                }
                let consumer = try RecordingConsumer([Subscription(queue: queue, prefetch: 10)])
                let deliveries = try await consumer.deliveries(4)
                consumer.consumer.settle([
                    .ack(deliveries[0].receipt), .reject(deliveries[1].receipt), .ack(deliveries[2].receipt),
                    .reject(deliveries[3].receipt), .reject(deliveries[3].receipt),
                ])
                await consumer.consumer.close()
                try await until("an empty queue") { try await admin.queue(queue)?.messages == 0 }
            }
            let reader = try RecordingConsumer([Subscription(queue: dead, prefetch: 10)])
            let deadLetters = try await reader.deliveries(2)
            #expect(deadLetters.map(\.text) == ["1", "3"])
            await reader.consumer.close()
        }
    }

    /// A quorum queue with a delivery limit gives back in front what a closed channel held.
    @Test func closingHandsBackInOrder() async throws {
        let arguments: FieldTable = ["x-queue-type": .string("quorum"), "x-delivery-limit": .int32(1000)]
        try await withQueue(arguments: arguments) { _, queue in
            try await withPublisher { publisher in
                _ = await publisher.publish((0..<60).map { outgoing("\($0)", to: queue) }, timeout: timeout)
            }
            let first = try RecordingConsumer([Subscription(queue: queue, prefetch: 20)])
            let held = try await first.deliveries(20)
            let second = try RecordingConsumer([Subscription(queue: queue, prefetch: 1)])
            _ = try await second.subscribed()
            var order = [try #require(try await second.deliveries(1).first)]
            first.consumer.settle([.ack(held[0].receipt), .ack(held[1].receipt), .ack(held[5].receipt)])
            await first.consumer.close()
            second.consumer.settle([.ack(order[0].receipt)])
            while order.count < 57 {
                let delivery = try #require(try await second.deliveries(1).first)
                order.append(delivery)
                second.consumer.settle([.ack(delivery.receipt)])
            }
            let expected = [20] + (2..<20).filter { $0 != 5 } + Array(21..<60)
            #expect(order.map(\.text) == expected.map(String.init))
            await second.consumer.close()
        }
    }

    @Test func deletedQueueCancelsAndIsSubscribedAgain() async throws {
        try await AMQPAdmin.withConnection(configuration(TestBroker.url)) { admin in
            let (lost, kept) = (uniqueName("lost"), uniqueName("kept"))
            for queue in [lost, kept] { try await admin.declareQueue(queue) }
            let consumer = try RecordingConsumer([
                Subscription(queue: lost, prefetch: 10), Subscription(queue: kept, prefetch: 10),
            ])
            let generation = try await consumer.subscribed()
            _ = try await consumer.subscribed()
            #expect(consumer.consumer.status.isSubscribed)
            try await withPublisher { publisher in
                #expect(await publisher.publish(outgoing("stale", to: lost), timeout: timeout) == .confirmed)
                let stale = try #require(try await consumer.deliveries(1).first)
                try await admin.deleteQueue(lost)
                let (queue, was, error) = try await consumer.next("a cancel") { event in
                    if case .subscriptionLost(let queue, let generation, let error) = event {
                        (queue, generation, error)
                    } else {
                        nil
                    }
                }
                #expect(queue == lost && was == generation && error == .cancelled(queue: lost))
                // Meanwhile there is no such queue.
                let refusal = try await consumer.next("a refusal") { event in
                    if case .subscriptionLost(_, _, let error) = event { error } else { nil }
                }
                guard case .channelClosed(404, _) = refusal else {
                    Issue.record("\(refusal)")
                    return
                }
                #expect(refusal.remedy == .operatorMustAct)
                // The other queue goes on, and a stale receipt does no harm.
                consumer.consumer.settle([.ack(stale.receipt)])
                #expect(await publisher.publish(outgoing("still", to: kept), timeout: timeout) == .confirmed)
                #expect(try await consumer.deliveries(1).map(\.text) == ["still"])
                try await admin.declareQueue(lost)
                let next = try await consumer.subscribed()
                #expect(next > generation)
                #expect(await publisher.publish(outgoing("again", to: lost), timeout: timeout) == .confirmed)
                #expect(try await consumer.deliveries(1).map(\.text) == ["again"])
            }
            await consumer.consumer.close()
            for queue in [lost, kept] { try await admin.deleteQueue(queue) }
        }
    }

    @Test func staleReceiptsAndDoubleSettlementsAreDropped() async throws {
        try await withQueue { admin, queue in
            try await withPublisher { publisher in
                _ = await publisher.publish((0..<3).map { outgoing("\($0)", to: queue) }, timeout: timeout)
            }
            let consumer = try RecordingConsumer([Subscription(queue: queue, prefetch: 10)])
            let deliveries = try await consumer.deliveries(3)
            let receipt = deliveries[1].receipt
            consumer.consumer.settle([
                .ack(receipt), .ack(receipt), .reject(receipt),
                .ack(Receipt(generation: receipt.generation + 1, channel: receipt.channel, deliveryTag: 1)),
                .ack(Receipt(generation: receipt.generation, channel: 99, deliveryTag: 1)),
                .ack(Receipt(generation: receipt.generation, channel: receipt.channel, deliveryTag: 99)),
                .ack(Receipt(generation: receipt.generation, channel: receipt.channel, deliveryTag: 0)),
            ])
            consumer.consumer.settle([.ack(receipt)])
            await consumer.consumer.close()
            let next = try RecordingConsumer([Subscription(queue: queue, prefetch: 10)])
            #expect(try await next.deliveries(2).map(\.text) == ["0", "2"])
            await next.consumer.close()
        }
    }
}
