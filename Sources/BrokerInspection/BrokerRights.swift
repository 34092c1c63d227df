// What the worker's user may do on the broker, and what it must. Pure.

import RouteWorker
import RoutingContract

/// Regular expressions for names of queues and exchanges.
public struct Permissions: Sendable, Hashable, Decodable {
    public var configure: String
    public var write: String
    public var read: String

    public init(configure: String, write: String, read: String) {
        self.configure = configure
        self.write = write
        self.read = read
    }
}

/// What was found out about a user's rights.
public struct BrokerRights: Sendable, Hashable {
    /// Whether anything may be published to the default exchange.
    public var mayPublish = true
    /// Queues that exist and may not be consumed.
    public var unreadable: [String] = []
    /// Whether the locks of partitions may be declared.
    public var mayLock = true
    /// Parking queues that nobody has declared, and that this user may not declare.
    public var missingParking: [String] = []
    /// Whether these may be configured.
    public var mayConfigureParking = true
    /// Whether these may be read, without which the broker lets nobody declare a queue with a dead-letter exchange.
    public var mayReadParking = true
    /// What the user has now; `nil` where only administrators are told.
    public var present: Permissions?

    public init() {}

    func diagnose(_ needs: BrokerNeeds) -> Diagnosis {
        var findings: [Diagnosis.Finding] = []
        if !mayPublish {
            findings.append(
                .init(
                    .loss,
                    "it may not publish to the default exchange: no answer and no dead letter leaves, no command ends"
                ))
        }
        for queue in unreadable {
            findings.append(.init(.loss, "it may not consume from queue '\(queue)': nobody works on what is there"))
        }
        if !mayLock, let partitioned = needs.partitioned {
            findings.append(
                .init(
                    .loss,
                    "it may not declare the locks of partitions ('\(partitioned.lock(0))' and so on): none is worked on"
                ))
        }
        if let first = missingParking.first {
            let others = missingParking.count > 1 ? " and \(missingParking.count - 1) others" : ""
            findings.append(
                .init(
                    .risk,
                    "it may not declare parking queues, and '\(first)'\(others) is not there: commands of such an org in "
                        + "trouble hold up others until their retry budgets end"))
        }
        return Diagnosis("user '\(needs.user)'", findings, remedy: findings.isEmpty ? [] : remedy(needs))
    }

    private func remedy(_ needs: BrokerNeeds) -> [Diagnosis.Step] {
        if mayPublish, mayLock, mayReadParking, unreadable.isEmpty {
            return needs.beforeDeclaring(mayDeclare: false) + [.run(needs.declareCommand(["--parking"]))]
        }
        let command = Diagnosis.Step.run(needs.control.setPermissions(needs.user, mended(needs)))
        return present == nil
            ? [.say("this takes the place of all rights that the user has there:"), command] : [command]
    }

    /// The least rights of a worker, beside those that its user has.
    private func mended(_ needs: BrokerNeeds) -> Permissions {
        let least = Self.least(needs)
        guard var permissions = present else { return least }
        func joined(_ old: String, _ new: String) -> String { old.isEmpty || old == "^$" ? new : "\(old)|\(new)" }
        if !mayConfigureParking || !mayLock { permissions.configure = joined(permissions.configure, least.configure) }
        if !mayPublish { permissions.write = joined(permissions.write, least.write) }
        if !mayReadParking || !unreadable.isEmpty { permissions.read = joined(permissions.read, least.read) }
        return permissions
    }

    /// What a worker cannot do without, the locks of its partitions included, and the right to park.
    static func least(_ needs: BrokerNeeds) -> Permissions {
        func anyOf(_ names: [String]) -> String { "^(\(names.joined(separator: "|")))$" }
        let commands = needs.queues.filter { $0.role == .commands }.map { BrokerControl.escaped($0.name) }
        let parking = commands.map { "\($0)\(BrokerControl.escaped(ParkingQueue.infix)).*" }
        let others = needs.queues.filter { $0.role.isConsumed && $0.role != .commands }
            .map { BrokerControl.escaped($0.name) }
        let locks = (needs.partitioned?.locks ?? []).map(BrokerControl.escaped)
        return Permissions(
            configure: anyOf(parking + locks), write: #"^amq\.default$"#, read: anyOf(commands + parking + others))
    }
}

extension Topology.Role {
    /// Whether workers consume it.
    var isConsumed: Bool {
        switch self {
        case .commands, .parking, .counting, .controls: true
        case .results, .deadLetters, .audit: false
        }
    }
}
