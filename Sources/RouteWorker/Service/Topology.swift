// The queues that the worker needs, and how they must be made so that nothing is lost.

public import AMQP
public import AMQPMessage
public import RoutingContract

/// The topology of a worker: its commands queues, the results queue and the dead-letter queue.
///
/// Commands queues are quorum queues with a delivery limit far above what the worker lets happen, whose own dead letters
/// (rejected messages) go to the dead-letter queue at least once; that strategy needs `reject-publish` (RabbitMQ, "Quorum
/// Queues", dead lettering).
///
/// Nor may the broker drop answers and dead letters for having been delivered often, as RabbitMQ 4 does after 20 times
/// where nothing else is declared: whoever looks at a dead letter and puts it back has it delivered once more.
public struct Topology: Sendable, Hashable {
    /// What a queue is for, from which follows what it may not do.
    public enum Role: Sendable, Hashable, CaseIterable {
        /// Commands, replayed ones among them.
        case commands
        /// Commands of an org in trouble.
        case parking
        case results
        case deadLetters
        /// The trail of what operators did.
        case audit
        /// Nothing is published to it: workers count each other by its consumers, which a quorum queue does not tell.
        case counting
        /// A stream of what operators tell all workers.
        case controls
    }

    /// A queue as it should be.
    public struct Queue: Sendable, Hashable {
        public var name: String
        public var role: Role
        public var arguments: FieldTable

        public init(name: String, role: Role, arguments: FieldTable) {
            self.name = name
            self.role = role
            self.arguments = arguments
        }
    }

    /// High, since the worker counts deliveries itself and ends a command long before.
    public static let deliveryLimit: Int32 = 1000
    /// Every look at the dead letters, or at the trail, counts as a delivery of each.
    public static let deadLetterDeliveryLimit: Int32 = 1_000_000

    public var queues: [Queue]
    public let partitioned: PartitionedQueue?
    private let commandsQueues: [String]
    private let deadLetterQueue: String

    /// - Parameters:
    ///   - commandsQueues: partitions among them.
    ///   - auditQueue: where operators leave the trail of what they do with dead letters.
    ///   - controlsQueue: where what operators say of orgs stands.
    ///   - partitioned: what partitions need beside themselves.
    public init(
        commandsQueues: [String], resultsQueue: String, deadLetterQueue: String, auditQueue: String? = nil,
        controlsQueue: String? = nil, partitioned: PartitionedQueue? = nil
    ) {
        self.commandsQueues = commandsQueues
        self.partitioned = partitioned
        self.deadLetterQueue = deadLetterQueue
        queues = commandsQueues.map { name in
            Queue(
                name: name, role: .commands,
                arguments: Self.losesNothing(deadLetterQueue: deadLetterQueue, deliveryLimit: Self.deliveryLimit))
        }
        let others: [(String?, Role, Int32)] = [
            (resultsQueue, .results, Self.deliveryLimit),
            (deadLetterQueue, .deadLetters, Self.deadLetterDeliveryLimit),
            (auditQueue, .audit, Self.deadLetterDeliveryLimit),
        ]
        for (name, role, limit) in others {
            guard let name else { continue }
            queues.append(
                Queue(
                    name: name, role: role,
                    arguments: ["x-queue-type": .string("quorum"), "x-delivery-limit": .int32(limit)]))
        }
        if let controlsQueue { queues.append(Self.controlsQueue(controlsQueue)) }
        for name in partitioned?.countingQueues ?? [] {
            queues.append(
                Queue(
                    name: name, role: .counting,
                    arguments: Self.countingArguments(deadLetterQueue: deadLetterQueue)))
        }
    }

    /// Every message states all that holds, and the broker keeps the last ones whatever the bounds: each reader starts with
    /// those, and none takes anything from another.
    private static func controlsQueue(_ name: String) -> Queue {
        Queue(
            name: name, role: .controls,
            arguments: [
                "x-queue-type": .string("stream"), "x-max-length-bytes": .int32(16 << 20),
                "x-stream-max-segment-size-bytes": .int32(4 << 20),
            ])
    }

    /// Only its consumers count, which a classic queue knows best. What somebody puts there by mistake is rejected to the
    /// dead-letter queue.
    private static func countingArguments(deadLetterQueue: String) -> FieldTable {
        [
            "x-queue-type": .string("classic"), "x-dead-letter-exchange": .string(""),
            "x-dead-letter-routing-key": .string(deadLetterQueue),
        ]
    }

    private static func losesNothing(deadLetterQueue: String, deliveryLimit: Int32) -> FieldTable {
        [
            "x-queue-type": .string("quorum"), "x-delivery-limit": .int32(deliveryLimit),
            "x-overflow": .string("reject-publish"), "x-dead-letter-exchange": .string(""),
            "x-dead-letter-routing-key": .string(deadLetterQueue), "x-dead-letter-strategy": .string("at-least-once"),
        ]
    }

    /// A parking queue: one consumer at a time, so that what it held goes back in its order. Every look into it counts as
    /// a delivery of all that it holds, so its limit is out of reach; without any, what goes back would go to the tail.
    public static func parkingQueue(_ name: String, deadLetterQueue: String) -> Queue {
        var arguments = losesNothing(deadLetterQueue: deadLetterQueue, deliveryLimit: .max)
        arguments["x-single-active-consumer"] = .boolean(true)
        return Queue(name: name, role: .parking, arguments: arguments)
    }

    /// Adds the parking queues of these orgs, for workers that may not declare them themselves when they need them.
    public mutating func addParking(of orgs: [OrgID]) {
        for org in orgs {
            for queue in commandsQueues {
                queues.append(
                    Self.parkingQueue(
                        ParkingQueue.name(of: queue, org: org), deadLetterQueue: deadLetterQueue))
            }
        }
    }

    /// Creates what is missing; leaves alone what is there as it should be.
    ///
    /// - Parameters:
    ///   - mayChangePartitions: whether another number of partitions than there is is meant, not a repair.
    ///   - orgs: those of the configuration, none of whose commands may be parked where the number of partitions changes.
    ///   - declared: told of each by its kind and name.
    /// - Throws: ``AMQPError/channelClosed(code:text:)`` with 406 for a queue that exists otherwise; ``PartitionsInUse``.
    public func declare(
        _ admin: AMQPAdmin, mayChangePartitions: Bool = true, orgs: [OrgID] = [],
        declared: (String, String) -> Void = { _, _ in }
    ) async throws {
        if mayChangePartitions { try await partitioned?.prepare(admin, orgs: orgs) }
        let partitions = Set(partitioned?.partitions ?? [])
        let bound = queues.map(\.name).filter(partitions.contains)
        if let partitioned, !bound.isEmpty {
            // First: a broker that lacks the plug-in for it is left without partitions that lead nowhere.
            try await admin.declareExchange(partitioned.exchange, type: PartitionedQueue.exchangeType)
            declared("exchange", partitioned.exchange)
        }
        for queue in queues {
            try await admin.declareQueue(queue.name, arguments: queue.arguments)
            declared("queue", queue.name)
        }
        guard let partitioned else { return }
        for name in bound {
            try await admin.bind(queue: name, to: partitioned.exchange, routingKey: PartitionedQueue.weight)
        }
    }
}
