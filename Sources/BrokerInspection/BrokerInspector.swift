// Looks at queues, policies and rights, and changes nothing.

public import AMQP
import RouteWorker
import RoutingContract
import WorkerSettings

/// Inspects a broker for what loses messages.
public struct BrokerInspector: Sendable {
    /// RabbitMQ's default, from 3.8.17 on.
    private static let usualAckTimeout = Duration.seconds(30 * 60)

    private let needs: BrokerNeeds
    private let admin: AMQPAdmin
    private let managed: ManagedBroker?

    /// - Parameters:
    ///   - admin: a connection of the worker's own user, whose rights count.
    ///   - managed: what the management API tells; without it nothing is known of policies.
    public init(_ needs: BrokerNeeds, _ admin: AMQPAdmin, managed: ManagedBroker?) {
        self.needs = needs
        self.admin = admin
        self.managed = managed
    }

    /// Says what is wrong, and of what could not be seen how to let it be seen.
    public func inspect() async throws(AMQPError) -> [Diagnosis] {
        let version = try await admin.brokerVersion().flatMap { Int($0.prefix { $0.isNumber }) }
        var rights = BrokerRights()
        rights.present = managed?.permissions
        rights.mayPublish = try await admin.mayPublish()
        if let partitioned = needs.partitioned {
            rights.mayLock = try await admin.mayConfigure(queue: partitioned.lock(0))
        }
        var diagnoses: [Diagnosis] = [try await lookAtExchange()]
        var missingParking: [String] = []
        var operatorPolicies = OperatorPolicies()
        for queue in needs.queues + needs.parking {
            switch try await look(at: queue) {
            case .missing:
                if queue.role == .parking {
                    missingParking.append(queue.name)
                } else {
                    diagnoses.append(try await judge(queue, nil, version))
                }
                continue
            case .hidden:
                diagnoses.append(
                    Diagnosis(
                        "queue '\(queue.name)'",
                        [.init(.unknown, "this user may not configure it, so how it was made could not be seen")],
                        remedy: [Self.howToSee]))
            case .seen(let facts):
                let diagnosis = try await judge(queue, facts, version)
                if let harm = diagnosis.harm { operatorPolicies.add(harm, to: queue.name) }
                diagnoses.append(diagnosis)
            }
            if queue.role.isConsumed, try await !admin.mayConsume(from: queue.name) {
                rights.unreadable.append(queue.name)
            }
        }
        try await lookAtRights(ofParking: missingParking, &rights)
        diagnoses += operatorPolicies.diagnoses(needs.control)
        diagnoses += [rights.diagnose(needs), unseenPolicies, unseenAckTimeout]
        return diagnoses.filter { !$0.isWell }
    }

    private func judge(
        _ queue: Topology.Queue, _ facts: QueueFacts?, _ version: Int?
    ) async throws(AMQPError) -> Diagnosis {
        func judged(mayDeclare: Bool) -> Diagnosis {
            QueueJudgement.diagnose(queue, facts, needs, brokerVersion: version, mayDeclare: mayDeclare)
        }
        let diagnosis = judged(mayDeclare: true)
        if diagnosis.isWell { return diagnosis }
        return try await mayDeclare(queue) ? diagnosis : judged(mayDeclare: false)
    }

    // MARK: Looking

    private enum Sight {
        case missing
        case hidden
        case seen(QueueFacts)
    }

    private func lookAtExchange() async throws(AMQPError) -> Diagnosis {
        guard let partitioned = needs.partitioned else { return Diagnosis("exchange", []) }
        let subject = "exchange '\(partitioned.exchange)'"
        if try await admin.hasExchange(partitioned.exchange) { return Diagnosis(subject, []) }
        // The command declares them all.
        var mayDeclareAll = true
        for queue in needs.queues where mayDeclareAll { mayDeclareAll = try await mayDeclare(queue) }
        return Diagnosis(
            subject, [.init(.loss, "it is missing: no command comes to a partition")],
            remedy: needs.beforeDeclaring(mayDeclare: mayDeclareAll)
                + [.run(needs.declareCommand(["--partitions", "\(partitioned.count)"]))])
    }

    /// Whether the worker's user may declare a queue that is not there, or is to be deleted.
    private func mayDeclare(_ queue: Topology.Queue) async throws(AMQPError) -> Bool {
        guard try await admin.mayConfigure(queue: queue.name) else { return false }
        if let partitioned = needs.partitioned, partitioned.partitions.contains(queue.name) {
            // It is bound to the exchange. Rights are by name, whatever it is that has it.
            guard try await admin.mayConfigure(queue: partitioned.exchange),
                try await admin.mayConsume(from: partitioned.exchange), try await admin.mayPublish(to: queue.name)
            else { return false }
        }
        // With a dead-letter exchange the broker wants to see this as well, where the queue is not there.
        guard let exchange = queue.declared("dead-letter-exchange")?.text else { return true }
        guard try await admin.mayConsume(from: queue.name) else { return false }
        return try await admin.mayPublish(to: exchange)
    }

    /// - Parameter missing: those that nobody has declared; the first of each commands queue tells of its others.
    private func lookAtRights(ofParking missing: [String], _ rights: inout BrokerRights) async throws(AMQPError) {
        for queue in needs.queues where queue.role == .commands {
            let lots = missing.filter { ParkingQueue.isOne($0, of: queue.name) }
            guard let first = lots.first else { continue }
            let (mayConfigure, mayRead) = (
                try await admin.mayConfigure(queue: first), try await admin.mayConsume(from: first)
            )
            if !mayConfigure || !mayRead { rights.missingParking += lots }
            if !mayConfigure { rights.mayConfigureParking = false }
            if !mayRead { rights.mayReadParking = false }
        }
    }

    private func look(at queue: Topology.Queue) async throws(AMQPError) -> Sight {
        var facts: QueueFacts
        if let managed {
            guard let told = managed.queues[queue.name] else { return .missing }
            facts = told
            facts.policies = managed.policies.applied(to: queue.name, facts.kind)
        } else {
            switch try await probe(queue) {
            case .seen(let probed): facts = probed
            case .missing: return .missing
            case .hidden: return .hidden
            }
        }
        if let exchange = facts.argumentFirst("dead-letter-exchange")?.value.text, !exchange.isEmpty {
            facts.hasDeadLetterExchange = try await admin.hasExchange(exchange)
        }
        return .seen(facts)
    }

    /// Without the management API.
    private func probe(_ queue: Topology.Queue) async throws(AMQPError) -> Sight {
        do {
            guard try await admin.queue(queue.name) != nil else { return .missing }
        } catch AMQPError.channelClosed(405, _) {
            return .seen(QueueFacts(kind: queue.declaredKind, isExclusive: true, arguments: queue.declaredArguments))
        }
        var probe = DeclareProbe(queue)
        for _ in 0..<DeclareProbe.attempts {
            do {
                try await admin.declareQueue(
                    queue.name, durable: probe.isDurable, autoDelete: probe.isAutoDelete, arguments: probe.arguments)
                return .seen(probe.facts)
            } catch AMQPError.channelClosed(406, let text) {
                guard probe.learn(text) else { return .hidden }
            } catch AMQPError.accessRefused {
                return .hidden
            }
        }
        return .hidden
    }

    // MARK: What could not be seen

    private static let howToSee = Diagnosis.Step.say(
        "set amqp.managementURL, with a user that has the tag monitoring, to see it")

    private var unseenPolicies: Diagnosis {
        guard let managed else {
            return Diagnosis(
                "policies",
                [
                    .init(
                        .unknown, "which policies apply to the queues could not be seen; they can drop messages as well"
                    )
                ],
                remedy: [Self.howToSee])
        }
        return Diagnosis(
            "policies",
            managed.policies.unreadable.map { .init(.unknown, "the pattern of policy '\($0)' cannot be read here") })
    }

    private var unseenAckTimeout: Diagnosis {
        guard needs.longestWork >= Self.usualAckTimeout else { return Diagnosis("ack timeout", []) }
        let least = (needs.longestWork + .seconds(60)).wholeMilliseconds
        let text =
            "a command may be worked on for \(needs.longestWork.settingText) (retry.budget and callTimeout), and a broker "
            + "takes it back after 30m where it is not told otherwise; what it was told could not be seen"
        return Diagnosis(
            "ack timeout", [.init(.unknown, text)],
            remedy: [
                .run("rabbitmqctl eval 'application:get_env(rabbit, consumer_timeout).'"),
                .say(
                    "where that is less than \(least), set consumer_timeout = \(least) in rabbitmq.conf; until a restart:"
                ),
                .run("rabbitmqctl eval 'application:set_env(rabbit, consumer_timeout, \(least)).'"),
            ])
    }
}
