// What a publisher takes, and what it says of it.
public import AMQPMessage

/// What became of a message given to a publisher.
public enum PublishOutcome: Sendable, Hashable {
    /// The broker has taken responsibility for it. (Without `mandatory`, also when no queue took it.)
    case confirmed
    /// No queue takes it: 312 "NO_ROUTE" for a mandatory message.
    case returned(code: UInt16, text: String)
    /// The broker did not take it, for instance because a queue with `overflow=reject-publish` is full.
    case nacked
    /// It was not confirmed in time. The broker may or may not have it: publish it again under the same `message_id`.
    case failed(AMQPError)
    /// It cannot be published, and never will be as it is: it cannot be encoded, or the broker closed the channel
    /// because of it (missing exchange, no permission, foreign `user_id`). The broker does not have it.
    case refused(AMQPError)
}

/// A message to publish, under a number of the caller's own.
public struct Publication: Sendable {
    /// Comes back in the result; nothing else is made of it.
    public var ticket: UInt64
    public var message: OutgoingMessage
    /// When to stop waiting for the broker's answer; kept to within a quarter of a second.
    public var deadline: ContinuousClock.Instant

    public init(ticket: UInt64, message: OutgoingMessage, deadline: ContinuousClock.Instant) {
        self.ticket = ticket
        self.message = message
        self.deadline = deadline
    }
}

/// The outcome of one publication.
public struct PublishResult: Sendable, Hashable {
    public var ticket: UInt64
    public var outcome: PublishOutcome

    public init(ticket: UInt64, outcome: PublishOutcome) {
        self.ticket = ticket
        self.outcome = outcome
    }
}

/// Bounds of a publisher.
public struct PublisherLimits: Sendable, Hashable {
    /// Messages that may be unconfirmed at a time.
    public var windowMessages: Int
    /// Bytes that may be unconfirmed at a time. Well under 4 MB, what the kernel takes without the broker reading: so a
    /// write does not block when the broker stops to read. A larger single message goes alone.
    public var windowBytes: Int
    /// Messages that may wait in the publisher's queue; more of them fail with ``AMQPError/queueFull``.
    public var queuedMessages: Int
    /// Bytes of bodies that may wait in the publisher's queue.
    public var queuedBytes: Int

    public init(
        windowMessages: Int = 1000, windowBytes: Int = 1 << 20, queuedMessages: Int = 20_000,
        queuedBytes: Int = 256 << 20
    ) {
        self.windowMessages = max(windowMessages, 1)
        self.windowBytes = windowBytes
        self.queuedMessages = queuedMessages
        self.queuedBytes = queuedBytes
    }
}

/// What happens to a publisher beside its results; told on its own thread.
public enum PublisherEvent: Sendable {
    case connected
    /// The connection is gone; unconfirmed messages failed. The publisher connects again by itself.
    case connectionLost(AMQPError)
    /// The broker closed the channel, because of a message: those whose fault it was are refused, others failed.
    case channelLost(AMQPError)
    /// There is no connection, for this reason; the next attempt follows after the given time.
    case retrying(AMQPError, after: Duration)
    /// The broker takes no messages (memory or disk alarm), for this reason. They wait.
    case blocked(String)
    case unblocked
}

/// How a publisher is doing.
public struct PublisherStatus: Sendable, Hashable {
    public var isConnected = false
    /// The broker's reason while it takes no messages.
    public var blockedBecause: String?
    /// When the broker last sent anything, heartbeats included.
    public var lastHeard: ContinuousClock.Instant?
    /// Why there is, or was last, no connection or channel.
    public var lastError: AMQPError?
    /// Messages that are not on their way yet.
    public var queued = 0
    /// Messages sent and not confirmed.
    public var unconfirmed = 0
}
