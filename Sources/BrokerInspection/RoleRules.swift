// What a queue may not do, by what it is for. Pure.

import RouteWorker

/// What a queue's role asks of it.
struct RoleRules {
    /// The only type that will do.
    var kind: QueueKind
    /// What is at stake where the queue is not as it should be.
    var severity: Diagnosis.Finding.Severity = .loss
    /// What happens while there is none.
    var withoutIt = "what is published to it is lost or refused"
    /// Whether what the broker takes out of it (rejected, delivered too often) must go to the dead letters.
    var isDeadLettered = false
    /// Whether it must have one consumer at a time, for the order of what goes back.
    var hasOneConsumer = false
    /// How long what it holds must be able to wait; `nil` where that is not for the broker to say.
    var keptFor: Duration?
    /// Fewer deliveries than this lose what it holds in the course of ordinary work.
    var leastDeliveryLimit: Int?
    /// Whether deliveries stay unacknowledged while they are worked on.
    var isWorkedOn = false
    /// What to do before it is declared, where nobody has.
    var beforeDeclaring: String?
    /// How to empty it, so that it can be made anew.
    private var emptying: String

    init(_ queue: Topology.Queue, _ needs: BrokerNeeds) {
        switch queue.role {
        case .commands:
            kind = .quorum
            isDeadLettered = true
            keptFor = needs.retention
            leastDeliveryLimit = needs.ownDeliveryLimit + 1
            isWorkedOn = true
            if let partitioned = needs.partitioned, partitioned.partitions.contains(queue.name) {
                // Binding it moves conversations from and to other partitions, where earlier commands of theirs may wait.
                let pause =
                    "stop publishing to exchange '\(partitioned.exchange)', let all partitions and their parking queues run "
                    + "empty"
                beforeDeclaring = "with it conversations move to other partitions: \(pause), then make it:"
                emptying = "\(pause), and stop the workers"
            } else {
                emptying = "stop what publishes to it, let the workers run it empty, and stop them"
            }
        case .parking:
            kind = .quorum
            isDeadLettered = true
            hasOneConsumer = true
            keptFor = needs.retention
            leastDeliveryLimit = Self.looks
            isWorkedOn = true
            emptying = "let the org come back and run it empty, and stop the workers"
        case .results:
            kind = .quorum
            keptFor = needs.retention
            leastDeliveryLimit = needs.ownDeliveryLimit
            emptying = "stop the workers, and let those who read answers run it empty"
        case .deadLetters:
            kind = .quorum
            keptFor = needs.failureRetention
            leastDeliveryLimit = Self.looks
            emptying =
                "replay, resolve or discard what it holds (`dead-letters export` keeps a copy), and stop the workers"
        case .audit:
            kind = .quorum
            keptFor = needs.failureRetention
            leastDeliveryLimit = Self.looks
            emptying = "let whoever keeps the trail run it empty"
        case .counting:
            kind = .classic
            severity = .risk
            withoutIt = "workers cannot count each other, and work on no partition"
            emptying = "it holds nothing; workers that run declare their share anew"
        case .controls:
            kind = .stream
            emptying = "note what is paused or shadowed (it has to be said again afterwards), and stop the workers"
        }
    }

    /// What to do before it is deleted, and declared as it should be.
    ///
    /// - Parameter found: its type now.
    func beforeMakingAnew(_ found: QueueKind) -> String {
        // Of another type it was never the worker's.
        if kind == .stream, found != kind {
            return "name another `controls.queue`, or, if this one is nobody else's and empty, make it anew:"
        }
        return "\(emptying); then make it anew:"
    }

    /// A queue without messages has none to lose.
    func atMost(_ severity: Diagnosis.Finding.Severity) -> Diagnosis.Finding.Severity {
        self.severity == .loss ? severity : self.severity
    }

    /// Every look into these queues counts as a delivery of all that they hold.
    private static let looks = 100_000
}

extension Topology.Queue {
    var declaredKind: QueueKind { declared("queue-type")?.text.map { QueueKind($0) } ?? .classic }

    /// An argument of its declaration.
    ///
    /// - Parameter key: without `x-`.
    func declared(_ key: String) -> QueueValue? { arguments["x-" + key].flatMap { QueueValue($0) } }

    /// The arguments of its declaration, without the `x-` of their names.
    var declaredArguments: [String: QueueValue] {
        var values: [String: QueueValue] = [:]
        for field in arguments.fields { values[String(field.key.dropFirst("x-".count))] = QueueValue(field.value) }
        return values
    }
}
