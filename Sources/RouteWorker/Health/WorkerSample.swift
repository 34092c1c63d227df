// How a worker is doing, looked at once a second.

public import AMQP

/// Everything that health and gauges are judged by. Taken on the worker's home event loop: that a new one comes shows
/// that the loop turns.
public struct WorkerSample: Sendable {
    /// A queue as the broker sees it.
    public struct Queue: Sendable, Hashable {
        public var name: String
        /// Ready to be delivered.
        public var messages: Int
        public var consumers: Int
    }

    public var takenAt: ContinuousClock.Instant
    public var pipeline: PipelineSnapshot
    public var consumer: ConsumerStatus
    /// By the name of their connection.
    public var publishers: [String: PublisherStatus]
    /// Why the store did not do what it was asked last.
    public var storeFailure: String?
    /// Orgs that have a source of tokens.
    public var orgsWithTokens: Int
    /// Why no token can be had, by alias. Holds no secret.
    public var tokenProblems: [String: String]
    /// Empty while the broker cannot be asked.
    public var queues: [Queue]
    /// Why the partitions cannot be shared with the other workers.
    public var partitionProblem: String?

    public init(
        takenAt: ContinuousClock.Instant, pipeline: PipelineSnapshot, consumer: ConsumerStatus,
        publishers: [String: PublisherStatus] = [:], storeFailure: String? = nil, orgsWithTokens: Int = 0,
        tokenProblems: [String: String] = [:], queues: [Queue] = [], partitionProblem: String? = nil
    ) {
        self.takenAt = takenAt
        self.pipeline = pipeline
        self.consumer = consumer
        self.publishers = publishers
        self.storeFailure = storeFailure
        self.orgsWithTokens = orgsWithTokens
        self.tokenProblems = tokenProblems
        self.queues = queues
        self.partitionProblem = partitionProblem
    }

    /// Deliveries that the broker waits for.
    var outstanding: Int { consumer.queues.reduce(0) { $0 + $1.outstanding } }
}
