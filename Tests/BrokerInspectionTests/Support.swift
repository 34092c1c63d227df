// Queues of every role, and what they are judged by.

import AMQPMessage
import RouteWorker
import RoutingContract

@testable import BrokerInspection

let needs = BrokerNeeds(
    vhost: "/", user: "worker", queues: Topology.Role.allCases.filter { $0 != .parking }.map(queue),
    parking: [queue(.parking)], deadLetterQueue: "routing.dead-letters",
    retention: .seconds(86_400), failureRetention: .seconds(14 * 86_400), longestWork: .seconds(130),
    configFile: "worker.yaml")

/// A queue as the worker declares it.
func queue(_ role: Topology.Role) -> Topology.Queue {
    let topology = Topology(
        commandsQueues: ["routing.commands"], resultsQueue: "routing.results",
        deadLetterQueue: "routing.dead-letters", auditQueue: "routing.audit")
    return switch role {
    case .commands, .results, .deadLetters, .audit: topology.queues.first { $0.role == role }!
    case .parking:
        Topology.parkingQueue("routing.commands.parked.00D000000000001", deadLetterQueue: "routing.dead-letters")
    case .counting: Topology.Queue(name: "routing.commands.workers", role: .counting, arguments: [:])
    case .controls:
        Topology.Queue(name: "routing.controls", role: .controls, arguments: ["x-queue-type": .string("stream")])
    }
}

/// A queue that was declared as the worker does.
func asDeclared(_ queue: Topology.Queue, own: Policy? = nil, enforced: Policy? = nil) -> QueueFacts {
    QueueFacts(
        kind: queue.declaredKind, arguments: queue.declaredArguments,
        policies: AppliedPolicies(own: own, enforced: enforced))
}

func diagnose(
    _ role: Topology.Role, _ change: (inout QueueFacts) -> Void = { _ in }, version: Int? = 3, mayDeclare: Bool = true
) -> Diagnosis {
    let queue = queue(role)
    var facts = asDeclared(queue)
    change(&facts)
    return QueueJudgement.diagnose(queue, facts, needs, brokerVersion: version, mayDeclare: mayDeclare)
}

extension Diagnosis {
    var texts: [String] { findings.map(\.text) }
    var severities: [Finding.Severity] { findings.map(\.severity) }

    var commands: [String] {
        remedy.compactMap { if case .run(let command) = $0 { command } else { nil } }
    }
    /// All steps, a command behind a `$`.
    var lines: [String] {
        remedy.map {
            switch $0 {
            case .say(let text): text
            case .run(let command): "$ " + command
            }
        }
    }
}
