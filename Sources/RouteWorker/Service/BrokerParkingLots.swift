// The parking queues on the broker, over a connection of their own.

public import AMQP
import AMQPMessage

/// Declares, looks at and consumes parking queues.
///
/// They share one consuming connection, apart from that of the commands: a channel that comes or goes costs calls that
/// wait for the broker, and commands of other orgs shall not wait for them. Only those of a partition are consumed with
/// the partition itself: whoever gets its lock next must find in them all that is there.
public final class BrokerParkingLots: ParkingLots {
    private let configuration: AMQPConfiguration
    private let deadLetterQueue: String
    private let consumer: AMQPConsumer
    private let lockHolder: AMQPConsumer

    /// - Parameters:
    ///   - lockHolder: the consumer of the commands, which holds the locks of partitions.
    ///   - deadLetterQueue: where the broker puts what is rejected from a parking queue.
    ///   - onEvent: see ``AMQPConsumer``.
    /// - Throws: ``AMQPError/library(code:text:)`` when the process has no file descriptor left.
    public init(
        _ configuration: AMQPConfiguration, lockHolder: AMQPConsumer, deadLetterQueue: String,
        onEvent: @escaping @Sendable (ConsumerEvent) -> Void
    ) throws(AMQPError) {
        self.configuration = configuration
        self.lockHolder = lockHolder
        self.deadLetterQueue = deadLetterQueue
        consumer = try AMQPConsumer(configuration, subscriptions: [], onEvent: onEvent)
    }

    /// Connects, so that a return need not wait for it.
    public func start() { consumer.start() }

    public func prepare(_ lot: String) async -> ParkingReadiness {
        do {
            return try await AMQPAdmin.withConnection(configuration) { admin in
                // Looking needs no permission, declaring does.
                if try await admin.queue(lot) != nil { return .ready }
                let queue = Topology.parkingQueue(lot, deadLetterQueue: deadLetterQueue)
                try await admin.declareQueue(queue.name, arguments: queue.arguments)
                return .ready
            }
        } catch AMQPError.accessRefused(let text) {
            return .refused(text)
        } catch AMQPError.channelClosed(406, let text) {
            // Somebody declared it otherwise in between.
            return .refused(text)
        } catch {
            return .failed("\(error)")
        }
    }

    public func messages(in lots: [String]) async -> [String: Int]? {
        guard !lots.isEmpty else { return [:] }
        return try? await AMQPAdmin.withConnection(configuration) { admin in
            var messages: [String: Int] = [:]
            for lot in lots {
                do {
                    messages[lot] = try await admin.queue(lot)?.messages
                } catch AMQPError.accessRefused, AMQPError.channelClosed {
                    // One that is somebody else's, or whose node is down, hides no other, and keeps no worker from its work.
                    continue
                }
            }
            return messages
        }
    }

    public func areEmpty(_ lots: [String]) async -> Bool {
        let areEmpty = try? await AMQPAdmin.withConnection(configuration) { admin in
            for lot in lots {
                guard let queue = try await admin.queue(lot) else { continue }
                // While it has no leader, or that is too busy to answer, a quorum queue counts no messages, nor consumers.
                guard queue.messages == 0, queue.consumers > 0 else { return false }
            }
            return true
        }
        return areEmpty ?? false
    }

    public func subscribe(_ lot: String, prefetch: UInt16, lock: String?) {
        consumer(lock).subscribe(Subscription(queue: lot, prefetch: prefetch, lock: lock))
    }

    public func unsubscribe(_ lot: String, lock: String?) { consumer(lock).unsubscribe(lot) }

    private func consumer(_ lock: String?) -> AMQPConsumer { lock == nil ? consumer : lockHolder }

    public func settle(_ batch: [Settlement]) { consumer.settle(batch) }

    /// Sends the acks that are waiting, then closes the channels without a cancel.
    public func close() async { await consumer.close() }
}
