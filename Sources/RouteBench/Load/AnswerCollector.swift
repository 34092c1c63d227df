// Reads the answers as a platform would, and knows when each came.

import AMQP
import AMQPMessage
import Foundation

/// Consumes the results queue and counts. Answers name their command by its number in `correlation_id`.
final class AnswerCollector: Sendable {
    struct State {
        /// Nanoseconds of ``monotonicNow()`` by number; zero while there is no answer.
        var answeredAt: [UInt64]
        var distinct = 0
        var repeated = 0
        /// Answers that do not say `succeeded`, or name no command of this run.
        var wrong = 0
    }

    private let lock = NSLock()
    /// `nonisolated(unsafe)`: guarded by the lock.
    nonisolated(unsafe) private var state: State
    private let onCount: @Sendable (Int) -> Void
    /// `nonisolated(unsafe)`: set before it starts, and never again.
    nonisolated(unsafe) private var consumer: AMQPConsumer?

    /// - Parameter onCount: told after every batch how many commands have been answered, on the consumer's thread.
    init(
        _ configuration: AMQPConfiguration, queue: String, expected: Int, onCount: @escaping @Sendable (Int) -> Void
    ) throws {
        state = State(answeredAt: Array(repeating: 0, count: expected))
        self.onCount = onCount
        let consumer = try AMQPConsumer(
            configuration, subscriptions: [Subscription(queue: queue, prefetch: 2000)]
        ) { [weak self] in self?.take($0) }
        self.consumer = consumer
        consumer.start()
    }

    var soFar: State { lock.withLock { state } }
    var distinct: Int { lock.withLock { state.distinct } }

    func close() async { await consumer?.close() }

    private func take(_ event: ConsumerEvent) {
        guard case .deliveries(let deliveries) = event else { return }
        let now = monotonicNow()
        let distinct = lock.withLock {
            for delivery in deliveries { count(delivery.message.properties, now) }
            return state.distinct
        }
        consumer?.settle(deliveries.map { .ack($0.receipt) })
        onCount(distinct)
    }

    private func count(_ properties: MessageProperties, _ now: UInt64) {
        guard properties.headers["Outcome"] == .string("succeeded"),
            let index = properties.correlationID.flatMap({ Int($0) }), state.answeredAt.indices.contains(index)
        else {
            state.wrong += 1
            return
        }
        if state.answeredAt[index] == 0 {
            state.answeredAt[index] = now
            state.distinct += 1
        } else {
            state.repeated += 1
        }
    }
}
