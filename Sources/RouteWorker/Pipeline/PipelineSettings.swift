// What the pipeline is told by the configuration.

public import RoutingContract

/// How deliveries are worked on. Values of one worker, not of one org; those stand in ``OrgPolicy``.
public struct PipelineSettings: Sendable {
    /// The name of this worker in answers and in the store.
    public var worker: String
    /// Deliveries worked on at a time, over all queues; at least 1. Waiting ones (backoff) do not count.
    public var concurrency: Int
    /// The commands queues, in the order in which receipts number them.
    public var queues: [Queue]
    public var answers: Answers
    /// How long a claim protects its holder; must exceed every org's `callTimeout` by some seconds.
    public var lease: Duration
    /// A command issued longer ago than this is `expired`; not more than the store's retention.
    public var retention: Duration
    /// At this many earlier deliveries of a command the worker ends it itself.
    public var deliveryLimit: Int
    /// Far below the limits of the queues.
    public static let usualDeliveryLimit = 100
    /// By org; an org that is missing has ``OrgPolicy``'s defaults.
    public var policies: [OrgID: OrgPolicy]

    /// One commands queue.
    public struct Queue: Sendable {
        public var name: String
        /// Deliveries that the broker may have outstanding on it; at least 1.
        public var prefetch: Int
        /// Slots that no other queue may take.
        public var reservedConcurrency: Int
        public var defaults: QueueDefaults
        /// The lock without which the queue may not be worked on, for partitions; all of them are partitions of one queue,
        /// and share its slots.
        public var lock: String?

        public init(
            name: String, prefetch: Int = 65_535, reservedConcurrency: Int = 0,
            defaults: QueueDefaults = QueueDefaults(), lock: String? = nil
        ) {
            self.name = name
            self.prefetch = prefetch
            self.reservedConcurrency = reservedConcurrency
            self.defaults = defaults
            self.lock = lock
        }
    }

    /// Where answers and dead letters go.
    public struct Answers: Sendable {
        public var queue: String
        public var deadLetterQueue: String
        /// Whether an answer to a direct reply-to, which nobody can confirm to have been read, also goes to `queue`.
        public var copiesDirectReplies: Bool
        /// How often the broker may nack an answer before its command becomes a dead letter. Eight times, with the
        /// waits between them, outlast the election of a quorum queue's leader.
        public var publishAttempts: Int
        /// How long a publish may wait for the broker's confirm.
        public var confirmTimeout: Duration

        public init(
            queue: String = "routing.results", deadLetterQueue: String = "routing.dead-letters",
            copiesDirectReplies: Bool = true, publishAttempts: Int = 8, confirmTimeout: Duration = .seconds(30)
        ) {
            self.queue = queue
            self.deadLetterQueue = deadLetterQueue
            self.copiesDirectReplies = copiesDirectReplies
            self.publishAttempts = publishAttempts
            self.confirmTimeout = confirmTimeout
        }
    }

    public init(
        worker: String, concurrency: Int = 64, queues: [Queue], answers: Answers = Answers(),
        lease: Duration = .seconds(60), retention: Duration = .seconds(24 * 3600),
        deliveryLimit: Int = PipelineSettings.usualDeliveryLimit,
        policies: [OrgID: OrgPolicy] = [:]
    ) {
        self.worker = worker
        self.concurrency = concurrency
        self.queues = queues
        self.answers = answers
        self.lease = lease
        self.retention = retention
        self.deliveryLimit = deliveryLimit
        self.policies = policies
    }
}

extension PipelineSettings {
    /// For each queue its place among those that take turns, and for each of these the slots that are its own.
    var sources: (ofQueues: [Int], reserved: [Int]) {
        var sources: [Int] = []
        var reserved: [Int] = []
        var partitioned: Int?
        for queue in queues {
            if queue.lock != nil, let partitioned {
                sources.append(partitioned)
                continue
            }
            if queue.lock != nil { partitioned = reserved.count }
            sources.append(reserved.count)
            reserved.append(queue.reservedConcurrency)
        }
        return (sources, reserved)
    }
}
