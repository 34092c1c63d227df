// Reads the answers as a platform would, and knows when each came.

import AMQP
import AMQPMessage
import Synchronization

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

    private let state: Mutex<State>
    private let onCount: @Sendable (Int) -> Void
    /// Set before it starts, and never again.
    private let consumer = Mutex<AMQPConsumer?>(nil)

    /// - Parameter onCount: told after every batch how many commands have been answered, on the consumer's thread.
    init(
        _ configuration: AMQPConfiguration, queue: String, expected: Int, onCount: @escaping @Sendable (Int) -> Void
    ) throws {
        state = Mutex(State(answeredAt: Array(repeating: 0, count: expected)))
        self.onCount = onCount
        let consumer = try AMQPConsumer(
            configuration, subscriptions: [Subscription(queue: queue, prefetch: 2000)]
        ) { [weak self] in self?.take($0) }
        self.consumer.withLock { $0 = consumer }
        consumer.start()
    }

    var soFar: State { state.withLock { $0 } }
    var distinct: Int { state.withLock { $0.distinct } }

    func close() async { await consumer.withLock { $0 }?.close() }

    private func take(_ event: ConsumerEvent) {
        guard case .deliveries(let deliveries) = event else { return }
        let now = monotonicNow()
        let distinct = state.withLock { state in
            for delivery in deliveries { state.count(delivery.message.properties, now) }
            return state.distinct
        }
        consumer.withLock { $0 }?.settle(deliveries.map { .ack($0.receipt) })
        onCount(distinct)
    }
}

extension AnswerCollector.State {
    fileprivate mutating func count(_ properties: MessageProperties, _ now: UInt64) {
        guard properties.headers["Outcome"] == .string("succeeded"),
            let index = properties.correlationID.flatMap({ Int($0) }), answeredAt.indices.contains(index)
        else {
            wrong += 1
            return
        }
        if answeredAt[index] == 0 {
            answeredAt[index] = now
            distinct += 1
        } else {
            repeated += 1
        }
    }
}
