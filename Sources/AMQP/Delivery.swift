// What a consumer hands out and takes back.
public import AMQPMessage

/// Names a delivery to the broker. Worthless once its channel is gone: the broker delivers the message again.
public struct Receipt: Sendable, Hashable {
    /// Counts the channels that the consumer opened, so that receipts of an earlier one can be told.
    public let generation: UInt64
    /// The channel's number on its connection.
    public let channel: UInt16
    public let deliveryTag: UInt64

    public init(generation: UInt64, channel: UInt16, deliveryTag: UInt64) {
        self.generation = generation
        self.channel = channel
        self.deliveryTag = deliveryTag
    }
}

/// A message from a queue.
public struct Delivery: Sendable, Hashable {
    public var receipt: Receipt
    public var queue: String
    public var exchange: String
    public var routingKey: String
    /// Whether the broker has delivered it before, to whomever.
    public var redelivered: Bool
    public var message: Message
    /// False when the message cannot be given back as it came: a header nested deeper than 64 levels (``FieldValue/void``
    /// stands for it), a short string that is not UTF-8 (repaired), or properties that cannot be read (left out).
    public var isComplete: Bool
    /// The size of a body over ``Subscription/bodyLimit``; nothing of it was kept.
    public var skippedBodyBytes: UInt64?

    public init(
        receipt: Receipt, queue: String, exchange: String = "", routingKey: String = "", redelivered: Bool = false,
        message: Message, isComplete: Bool = true, skippedBodyBytes: UInt64? = nil
    ) {
        self.receipt = receipt
        self.queue = queue
        self.exchange = exchange
        self.routingKey = routingKey
        self.redelivered = redelivered
        self.message = message
        self.isComplete = isComplete
        self.skippedBodyBytes = skippedBodyBytes
    }
}

/// What becomes of a delivery.
public enum Settlement: Sendable, Hashable {
    /// Done with: the broker forgets it.
    case ack(Receipt)
    /// The broker moves it to the queue's dead-letter exchange, or drops it where the queue has none.
    case reject(Receipt)
}

/// A queue to consume.
public struct Subscription: Sendable, Hashable {
    public var queue: String
    /// As many consumers as a quorum queue puts back in their order: Erlang keeps maps of so many keys sorted by them
    /// (`MAP_SMALL_MAP_LIMIT`), and that queue (`rabbit_fifo`) walks through a map of its consumers.
    public static let maximumConsumers = 32

    /// Unsettled deliveries the broker sends at most, to each of the consumers; at least 1, since 0 would mean no limit.
    public var prefetch: UInt16
    /// How many consumers the channel has on the queue, to hold more than one can (`basic.qos` has 16 bits). They begin in
    /// turn, and each is given all that it can have before the next one gets anything; so what is held goes back in its
    /// order when the channel closes or the connection dies. Only what comes in after something was settled may go back
    /// before older messages.
    public var consumers: Int
    /// Bodies over this many bytes are counted and not kept.
    public var bodyLimit: UInt64
    /// A lock (see ``AMQPConsumer/acquire(_:)``) without which the queue may not be consumed: when it is lost, the
    /// subscription ends with it and is not made again.
    public var lock: String?
    /// Whether a message whose properties cannot be read is rejected (see ``ConsumerEvent/rejectedUnread(queue:exchange:routingKey:)``)
    /// rather than breaking the connection each time: not for who only looks, since a queue without a dead-letter exchange
    /// loses what is rejected.
    public var rejectsUnreadable: Bool
    /// Of `basic.consume`, such as `x-stream-offset`.
    public var arguments: FieldTable

    public init(
        queue: String, prefetch: UInt16, consumers: Int = 1, bodyLimit: UInt64 = 64 << 20, lock: String? = nil,
        rejectsUnreadable: Bool = true, arguments: FieldTable = FieldTable()
    ) {
        self.queue = queue
        self.prefetch = max(prefetch, 1)
        self.consumers = min(max(consumers, 1), Self.maximumConsumers)
        self.bodyLimit = bodyLimit
        self.lock = lock
        self.rejectsUnreadable = rejectsUnreadable
        self.arguments = arguments
    }
}

/// What a consumer tells, on its own thread: take it and return soon, since nothing is read or acked meanwhile.
public enum ConsumerEvent: Sendable {
    /// What one look at the socket brought, in the order of each queue.
    case deliveries([Delivery])
    /// A queue is being consumed. Receipts of its deliveries carry this generation.
    case subscribed(queue: String, generation: UInt64)
    /// A queue is not consumed any more; receipts of this generation are void, and the broker delivers what was not
    /// settled again. Told of every queue also when the connection is lost. The consumer subscribes again by itself,
    /// except after ``AMQPConsumer/unsubscribe(_:)`` and where a lock was needed and is gone: then the error is
    /// ``AMQPError/closed`` or that of the lock. Where a first attempt fails, the generation is one that no receipt
    /// carries.
    case subscriptionLost(queue: String, generation: UInt64, AMQPError)
    /// The lock is this connection's, until it is released or lost.
    case lockHeld(String)
    /// The lock could not be had: another connection holds it (405), the user may not configure a queue of that name
    /// (403), or there is no connection. The consumer does not try again by itself.
    case lockRefused(String, AMQPError)
    /// The lock was released (``AMQPError/closed``), or lost with the connection. What it guarded is over: its
    /// subscriptions were told of before. The consumer does not take it again by itself.
    case lockLost(String, AMQPError)
    /// A message was rejected unseen, to the queue's dead-letter exchange, because librabbitmq cannot read its properties
    /// and breaks the connection over it each time it comes.
    case rejectedUnread(queue: String, exchange: String, routingKey: String)
    /// The connection is gone; the consumer connects again by itself.
    case connectionLost(AMQPError)
    /// There is no connection, for this reason; the next attempt follows after the given time.
    case retrying(AMQPError, after: Duration)
}

/// How a consumer is doing.
public struct ConsumerStatus: Sendable, Hashable {
    public struct Queue: Sendable, Hashable {
        public var queue: String
        public var isSubscribed: Bool
        /// Deliveries handed out and not settled.
        public var outstanding: Int
        /// Why the queue is not, or was last not, consumed.
        public var lastError: AMQPError?
    }

    public var isConnected = false
    /// When the broker last sent anything, heartbeats included.
    public var lastHeard: ContinuousClock.Instant?
    /// Why there is, or was last, no connection.
    public var lastError: AMQPError?
    public var queues: [Queue] = []

    /// Whether every queue is consumed.
    public var isSubscribed: Bool { isConnected && queues.allSatisfy(\.isSubscribed) }
}
