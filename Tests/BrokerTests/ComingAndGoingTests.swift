// Subscriptions that come and go on one connection, and locks.
import AMQP
import AMQPMessage
import Foundation
import RoutingContract
import TestSupport
import Testing

@Suite(.timeLimit(.minutes(2))) struct ComingAndGoingTests {
    private let timeout: Duration = .seconds(20)
    private let partition: FieldTable = ["x-queue-type": .string("quorum"), "x-delivery-limit": .int32(1000)]

    private func withQueues(_ count: Int, _ body: (AMQPAdmin, [String]) async throws -> Void) async throws {
        try await AMQPAdmin.withConnection(configuration(TestBroker.url)) { admin in
            let queues = (0..<count).map { _ in uniqueName("coming") }
            for queue in queues { try await admin.declareQueue(queue, arguments: partition) }
            do {
                try await body(admin, queues)
            } catch {
                for queue in queues { _ = try? await admin.deleteQueue(queue) }
                throw error
            }
            for queue in queues { try await admin.deleteQueue(queue) }
        }
    }

    private func publish(_ range: Range<Int>, to queue: String) async throws {
        try await withPublisher { publisher in
            let outcomes = await publisher.publish(range.map { outgoing("\($0)", to: queue) }, timeout: timeout)
            #expect(outcomes.allSatisfy { $0 == .confirmed })
        }
    }

    @Test func aConsumerWithoutQueuesTakesThemLater() async throws {
        try await withQueues(2) { admin, queues in
            let consumer = try RecordingConsumer([])
            consumer.consumer.subscribe(Subscription(queue: queues[0], prefetch: 10))
            // Asked for twice, consumed once.
            consumer.consumer.subscribe(Subscription(queue: queues[0], prefetch: 10))
            let first = try await consumer.subscribed()
            consumer.consumer.subscribe(Subscription(queue: queues[1], prefetch: 10))
            let second = try await consumer.subscribed()
            #expect(second > first)
            #expect(consumer.consumer.status.queues.map(\.queue) == queues && consumer.consumer.status.isSubscribed)
            try await publish(0..<1, to: queues[1])
            #expect(try await consumer.deliveries(1).map(\.queue) == [queues[1]])
            #expect(try await admin.queue(queues[0])?.consumers == 1)
            await consumer.consumer.close()
        }
    }

    /// What was handed in before is acked, what is unsettled goes back ahead and in its order, and the other queue goes on.
    @Test func unsubscribingHandsBackInOrder() async throws {
        try await withQueues(2) { admin, queues in
            try await publish(0..<60, to: queues[0])
            let first = try RecordingConsumer(queues.map { Subscription(queue: $0, prefetch: 20) })
            let held = try await first.deliveries(20)
            first.consumer.settle([.ack(held[0].receipt), .ack(held[1].receipt), .ack(held[5].receipt)])
            first.consumer.unsubscribe(queues[0])
            let generation = try await first.next("the end") { event in
                if case .subscriptionLost(queues[0], let generation, .closed) = event { generation } else { nil }
            }
            #expect(generation == held[0].receipt.generation)
            #expect(first.consumer.status.queues.map(\.queue) == [queues[1]])
            // Too late: the receipt is void.
            first.consumer.settle([.ack(held[2].receipt)])

            let second = try RecordingConsumer([Subscription(queue: queues[0], prefetch: 7)])
            var order: [String] = []
            while order.count < 57 {
                let batch = try await second.deliveries(1)
                order += batch.map(\.text)
                second.consumer.settle(batch.map { .ack($0.receipt) })
            }
            #expect(order == (2..<60).filter { $0 != 5 }.map(String.init))
            try await publish(0..<1, to: queues[1])
            #expect(try await first.deliveries(1).map(\.queue) == [queues[1]])
            await first.consumer.close()
            await second.consumer.close()
            try await until("an empty queue") { try await admin.queue(queues[0])?.messages == 0 }
        }
    }

    /// While a channel is closed, deliveries of it may be under way: they reach nobody, whoever gets its number next.
    @Test func numbersOfClosedChannelsAreUsedAgainSafely() async throws {
        let seed = UInt64.random(in: .min ... .max)
        print("seed \(seed)")
        var random = SeededGenerator(seed: seed)
        try await withQueues(4) { admin, queues in
            let count = 1500
            for queue in queues { try await publish(0..<count, to: queue) }
            let consumer = try RecordingConsumer(queues.map { Subscription(queue: $0, prefetch: 100) })
            var seen: [String: Set<String>] = [:]
            var live: [String: UInt64] = [:]
            for await event in consumer.events {
                switch event {
                case .deliveries(let batch):
                    for delivery in batch {
                        #expect(live[delivery.queue] == delivery.receipt.generation)
                        seen[delivery.queue, default: []].insert(delivery.text)
                    }
                    consumer.consumer.settle(batch.map { .ack($0.receipt) })
                    let queue = queues.randomElement(using: &random)!
                    if Int.random(in: 0..<10, using: &random) == 0, seen[queue]?.count != count {
                        consumer.consumer.unsubscribe(queue)
                        consumer.consumer.subscribe(Subscription(queue: queue, prefetch: 100))
                    }
                case .subscribed(let queue, let generation): live[queue] = generation
                case .subscriptionLost(let queue, let generation, let error):
                    #expect(live.removeValue(forKey: queue) == generation && error == .closed)
                case .connectionLost(let error): Issue.record("\(error)")
                case .lockHeld, .lockRefused, .lockLost, .rejectedUnread, .retrying: break
                }
                if queues.allSatisfy({ seen[$0]?.count == count }) { break }
            }
            await consumer.consumer.close()
        }
    }

    @Test func whatWasSubscribedLaterIsSubscribedAgainAfterALoss() async throws {
        try await withPrivateBroker { broker in
            try await AMQPAdmin.withConnection(configuration(broker.url)) { admin in
                for queue in ["stays", "guarded"] { try await admin.declareQueue(queue) }
            }
            let consumer = try RecordingConsumer([], on: broker.url)
            consumer.consumer.subscribe(Subscription(queue: "stays", prefetch: 10))
            let first = try await consumer.subscribed()
            consumer.consumer.acquire("lock")
            _ = try await consumer.next("the lock") { if case .lockHeld("lock") = $0 { true } else { nil } }
            consumer.consumer.subscribe(Subscription(queue: "guarded", prefetch: 10, lock: "lock"))
            _ = try await consumer.subscribed()
            try await broker.restart()
            var lost: [String] = []
            let again = try await consumer.next("a subscription") { event -> UInt64? in
                switch event {
                case .subscriptionLost(let queue, _, _): lost.append(queue)
                case .lockLost(let lock, _): lost.append(lock)
                case .subscribed("stays", let generation): return generation
                case .subscribed(let queue, _): Issue.record("\(queue) is consumed without its lock")
                case .deliveries, .lockHeld, .lockRefused, .rejectedUnread, .connectionLost, .retrying: break
                }
                return nil
            }
            #expect(again > first)
            #expect(lost.prefix(3) == ["stays", "guarded", "lock"])
            #expect(consumer.consumer.status.queues.map(\.queue) == ["stays"])
            // Whoever asks too late is told so.
            consumer.consumer.subscribe(Subscription(queue: "guarded", prefetch: 10, lock: "lock"))
            _ = try await consumer.next("the refusal") { event in
                if case .subscriptionLost("guarded", _, .closed) = event { true } else { nil }
            }
            await consumer.consumer.close()
        }
    }

    @Test func aLockIsHeldByOneConnection() async throws {
        let lock = uniqueName("lock")
        let first = try RecordingConsumer([])
        let second = try RecordingConsumer([])
        try await withQueues(1) { admin, queues in
            try await take(lock, first)
            second.consumer.acquire(lock)
            guard case .channelClosed(405, _) = try await refusal(of: lock, second) else {
                Issue.record("not refused because somebody else holds it")
                return
            }
            first.consumer.subscribe(Subscription(queue: queues[0], prefetch: 10, lock: lock))
            _ = try await first.subscribed()

            // Given back: after what it guards, and free for the next.
            first.consumer.release(lock)
            let order = [try await first.lost(), try await first.lost()]
            #expect(order == [queues[0], lock])
            try await take(lock, second)
            first.consumer.acquire(lock)
            _ = try await refusal(of: lock, first)

            // Gone with its connection.
            second.consumer.closeNow()
            try await until("the lock is free") {
                first.consumer.acquire(lock)
                return try await first.next("an answer") { event in
                    switch event {
                    case .lockHeld(lock): true
                    case .lockRefused(lock, _): false
                    default: nil
                    }
                }
            }
            await first.consumer.close()
            try await until("the lock's queue is gone") { try await admin.queue(lock) == nil }
        }
    }

    @Test func withoutAConnectionALockIsRefused() async throws {
        let consumer = try RecordingConsumer([], on: "amqp://127.0.0.1:\(FreePort.find())")
        consumer.consumer.acquire("lock")
        _ = try await refusal(of: "lock", consumer)
        consumer.consumer.subscribe(Subscription(queue: "some", prefetch: 1))
        consumer.consumer.unsubscribe("some")
        _ = try await consumer.next("the end") { event in
            if case .subscriptionLost("some", _, .closed) = event { true } else { nil }
        }
        await consumer.consumer.close()
    }

    private func take(_ lock: String, _ consumer: RecordingConsumer) async throws {
        consumer.consumer.acquire(lock)
        _ = try await consumer.next("the lock") { if case .lockHeld(lock) = $0 { true } else { nil } }
    }

    private func refusal(of lock: String, _ consumer: RecordingConsumer) async throws -> AMQPError {
        try await consumer.next("a refusal") { if case .lockRefused(lock, let error) = $0 { error } else { nil } }
    }
}

extension RecordingConsumer {
    /// The queue or lock that is lost next.
    fileprivate func lost() async throws -> String {
        try await next("a loss") { event in
            switch event {
            case .subscriptionLost(let queue, _, _): queue
            case .lockLost(let lock, _): lock
            case .deliveries, .subscribed, .lockHeld, .lockRefused, .rejectedUnread, .connectionLost, .retrying: nil
            }
        }
    }
}
