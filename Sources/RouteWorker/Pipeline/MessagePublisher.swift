// The ports by which answers and dead letters leave the pipeline.

public import AMQP
public import AMQPMessage

/// Publishes answers and dead letters.
public protocol MessagePublisher: Sendable {
    /// Publishes all, each once, and returns what became of each, in their order, when the last is known or the time is
    /// over.
    func publish(_ messages: [OutgoingMessage], timeout: Duration) async -> [PublishOutcome]
}

extension AMQPPublisher: MessagePublisher {}

/// Publishes what may be lost.
public protocol BestEffortPublisher: Sendable {
    /// Publishes if that can be done soon; returns at once.
    func publishBestEffort(_ message: OutgoingMessage)
}

extension AMQPPublisher: BestEffortPublisher {
    public func publishBestEffort(_ message: OutgoingMessage) {
        // Who waits for a direct reply does not wait long.
        enqueue([Publication(ticket: 0, message: message, deadline: .now + .seconds(5))])
    }
}
