// What a worker needs of its broker.

public import RouteWorker
public import RoutingContract

/// What the queues and rights of a broker are judged by.
public struct BrokerNeeds: Sendable, Hashable {
    public var vhost: String
    /// Whose rights count: the worker's user.
    public var user: String
    /// The queues that must be there.
    public var queues: [Topology.Queue]
    /// Those that the worker declares when it needs one.
    public var parking: [Topology.Queue]
    /// What is shared out among workers.
    public var partitioned: PartitionedQueue?
    public var deadLetterQueue: String
    /// How long a command may wait, and its answer: what is older is `expired`.
    public var retention: Duration
    /// How long dead letters, and the trail of them, are meant to last.
    public var failureRetention: Duration
    /// How long a delivery may stay unacknowledged while it is worked on.
    public var longestWork: Duration
    /// After so many deliveries the worker ends a command itself.
    public var ownDeliveryLimit: Int
    /// Where the worker's settings stand, for commands that it is given to.
    public var configFile: String?

    public init(
        vhost: String, user: String, queues: [Topology.Queue], parking: [Topology.Queue] = [],
        partitioned: PartitionedQueue? = nil, deadLetterQueue: String, retention: Duration, failureRetention: Duration,
        longestWork: Duration,
        ownDeliveryLimit: Int = PipelineSettings.usualDeliveryLimit, configFile: String? = nil
    ) {
        self.vhost = vhost
        self.user = user
        self.queues = queues
        self.parking = parking
        self.partitioned = partitioned
        self.deadLetterQueue = deadLetterQueue
        self.retention = retention
        self.failureRetention = failureRetention
        self.longestWork = longestWork
        self.ownDeliveryLimit = ownDeliveryLimit
        self.configFile = configFile
    }

    var control: BrokerControl { BrokerControl(vhost: vhost) }

    /// What has to be said before ``declareCommand(_:)``.
    func beforeDeclaring(mayDeclare: Bool) -> [Diagnosis.Step] {
        if mayDeclare { return [] }
        return [
            .say(
                "user '\(user)' may not declare it: run `topology declare` as a user that may configure it, e.g. with "
                    + "AMQP_URL=amqp://USER:PASSWORD@HOST/VHOST before it")
        ]
    }

    /// Declares one queue.
    func declareCommand(_ queue: String) -> String { declareCommand(["--only", queue]) }

    func declareCommand(_ options: [String]) -> String {
        (["route-worker", "topology", "declare"] + (configFile.map { ["-c", $0] } ?? []) + options)
            .map(BrokerControl.quoted).joined(separator: " ")
    }
}
