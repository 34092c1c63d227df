// What is said of queues that were made or changed otherwise, and which command mends it.

import AMQPMessage
import RouteWorker
import RoutingContract
import Testing

@testable import BrokerInspection

@Suite("Judging queues")
struct QueueJudgementTests {
    private static let quorumRoles: [Topology.Role] = [.commands, .parking, .results, .deadLetters, .audit]

    @Test("A queue that was declared as the worker does is well", arguments: Topology.Role.allCases)
    func asDeclared(role: Topology.Role) {
        for version in [3, 4, nil] { #expect(diagnose(role, version: version).isWell) }
        // Without knowing policies as well.
        #expect(diagnose(role) { $0.policies = nil }.isWell)
    }

    @Test("A queue that is missing is declared", arguments: Topology.Role.allCases)
    func missing(role: Topology.Role) {
        let diagnosis = QueueJudgement.diagnose(queue(role), nil, needs, brokerVersion: 3, mayDeclare: true)
        #expect(diagnosis.texts == ["it is missing: \(RoleRules(queue(role), needs).withoutIt)"])
        #expect(diagnosis.severities == [.loss])
        #expect(diagnosis.commands == ["route-worker topology declare -c worker.yaml --only \(queue(role).name)"])
    }

    @Test("Who may not declare a queue is told so before it is deleted, or declared")
    func mayNotDeclare() {
        let missing = QueueJudgement.diagnose(queue(.results), nil, needs, brokerVersion: 3, mayDeclare: false)
        let declare = "$ route-worker topology declare -c worker.yaml --only routing.results"
        let say =
            "user 'worker' may not declare it: run `topology declare` as a user that may configure it, e.g. with "
            + "AMQP_URL=amqp://USER:PASSWORD@HOST/VHOST before it"
        #expect(missing.lines == [say, declare])
        let different = diagnose(
            .results,
            {
                $0.kind = .quorum; $0.isDurable = false
            }, mayDeclare: false)
        #expect(
            Array(different.lines.dropFirst()) == [say, "$ rabbitmqctl delete_queue -p / routing.results", declare],
            "\(different.lines)")
    }

    @Test("A partition is made, or made anew, while all partitions are empty: it moves conversations")
    func partition() {
        var needs = needs
        needs.partitioned = PartitionedQueue(name: "routing", count: 2, exchange: "spread")
        var partition = queue(.commands)
        partition.name = "routing.1"
        let pause = "stop publishing to exchange 'spread', let all partitions and their parking queues run empty"
        let missing = QueueJudgement.diagnose(partition, nil, needs, brokerVersion: 3, mayDeclare: true)
        #expect(missing.lines.count == 2 && missing.lines[0].contains(pause), "\(missing.lines)")
        let facts = QueueFacts(kind: .quorum, isDurable: false, arguments: partition.declaredArguments)
        let different = QueueJudgement.diagnose(partition, facts, needs, brokerVersion: 3, mayDeclare: true)
        #expect(different.lines.first == pause + ", and stop the workers; then make it anew:")
        // Nothing of the kind is said of a queue beside them.
        let other = QueueJudgement.diagnose(queue(.commands), nil, needs, brokerVersion: 3, mayDeclare: true)
        #expect(other.lines.count == 1)
    }

    @Test("A queue that is no stream may be somebody else's")
    func noStream() {
        let classic = diagnose(.controls) { $0.kind = .classic }
        #expect(classic.lines[0].hasPrefix("name another `controls.queue`, or, if this one is nobody else's and empty"))
        let stream = diagnose(.controls) { $0.isDurable = false }
        #expect(stream.lines[0].hasPrefix("note what is paused"))
    }

    @Test("A queue of another type is emptied and made anew", arguments: Topology.Role.allCases)
    func otherType(role: Topology.Role) {
        for kind in [QueueKind.classic, .quorum, .stream, .other("x")] where kind != queue(role).declaredKind {
            let diagnosis = diagnose(role) {
                $0.kind = kind
                $0.isDurable = false
                $0.arguments = ["message-ttl": .number(1)]
            }
            #expect(diagnosis.findings.count == 1, "\(diagnosis.texts)")
            #expect(diagnosis.texts[0].hasPrefix("it is a \(kind) and must be a \(queue(role).declaredKind): "))
            #expect(diagnosis.severities == [role == .counting ? .risk : .loss])
            let name = queue(role).name
            #expect(
                diagnosis.commands == [
                    "rabbitmqctl delete_queue -p / \(name)" + (kind == .classic ? " --if-empty" : ""),
                    "route-worker topology declare -c worker.yaml --only \(name)",
                ])
        }
    }

    @Test("A queue that does not live as long as its messages is made anew", arguments: Topology.Role.allCases)
    func shortLife(role: Topology.Role) {
        let changes: [(String, (inout QueueFacts) -> Void)] = [
            ("not durable", { $0.isDurable = false }), ("last consumer goes", { $0.isAutoDelete = true }),
            ("exclusive", { $0.isExclusive = true }),
            ("when unused for 1h", { $0.arguments["expires"] = .number(3_600_000) }),
        ]
        for (words, change) in changes {
            let diagnosis = diagnose(role, change)
            #expect(diagnosis.findings.count == 1 && diagnosis.texts[0].contains(words), "\(diagnosis.texts)")
            #expect(diagnosis.severities == [role == .counting ? .risk : .loss])
            #expect(diagnosis.commands.count == 2 && diagnosis.commands[0].hasPrefix("rabbitmqctl delete_queue "))
        }
    }

    @Test("Messages that expire before they had to are lost; later it is a risk", arguments: quorumRoles)
    func expiry(role: Topology.Role) {
        let day = 86_400_000
        let kept = role == .deadLetters || role == .audit ? 14 * day : day
        for (ttl, severity) in [(1000, Diagnosis.Finding.Severity.loss), (kept - 1, .loss), (kept, .risk)] {
            var diagnosis = diagnose(role) { $0.arguments["message-ttl"] = .number(ttl) }
            #expect(diagnosis.severities == [severity], "\(diagnosis.texts)")
            #expect(diagnosis.commands.first?.hasPrefix("rabbitmqctl delete_queue ") == true)
            diagnosis = diagnose(role) {
                $0.policies?.own = Policy(name: "ttl", pattern: ".*", definition: ["message-ttl": .number(ttl)])
            }
            #expect(diagnosis.severities == [severity], "\(diagnosis.texts)")
            #expect(diagnosis.texts[0].hasSuffix("(policy 'ttl')"))
            #expect(diagnosis.commands.count == 1 && diagnosis.commands[0].hasPrefix("rabbitmqctl set_policy "))
        }
        let short = diagnose(.commands) { $0.arguments["message-ttl"] = .number(1000) }
        #expect(short.texts[0].contains("expire after 1s, and may have to wait for 1d"))
    }

    @Test("A length limit drops the oldest unless the queue refuses what is published", arguments: quorumRoles)
    func length(role: Topology.Role) {
        for key in ["max-length", "max-length-bytes"] {
            let refused = diagnose(role) {
                $0.arguments[key] = .number(5)
                $0.arguments["overflow"] = .text("reject-publish")
            }
            #expect(refused.isWell)
            // A policy of the other kind goes over that, as RabbitMQ 3.10 does on quorum queues.
            let dropped = diagnose(role) {
                $0.arguments[key] = .number(5)
                $0.arguments["overflow"] = .text("reject-publish")
                $0.policies?.own = Policy(name: "p", pattern: ".*", definition: ["overflow": .text("drop-head")])
            }
            #expect(dropped.severities.first == .loss)
            #expect(dropped.texts[0].contains("drops the oldest"), "\(dropped.texts)")
            #expect(dropped.commands.count == 1 && dropped.commands[0].contains(#""overflow":"reject-publish""#))
        }
    }

    @Test("A delivery limit has to leave room for ordinary work and looks")
    func deliveryLimit() {
        for (role, limit, severity) in [
            (Topology.Role.commands, 100, Diagnosis.Finding.Severity.loss), (.commands, 101, .risk),
            (.results, 20, .loss), (.results, 500, .risk), (.deadLetters, 1000, .loss), (.audit, 99_999, .loss),
            (.parking, 1000, .loss), (.parking, 1_000_000, .risk),
        ] {
            let diagnosis = diagnose(role) { $0.arguments["delivery-limit"] = .number(limit) }
            #expect(diagnosis.severities == [severity], "\(role) \(limit): \(diagnosis.texts)")
            #expect(diagnosis.commands.first?.hasPrefix("rabbitmqctl delete_queue ") == true)
        }
        // None at all (RabbitMQ 4).
        #expect(diagnose(.commands, { $0.arguments["delivery-limit"] = .number(-1) }, version: 4).isWell)
        // The least of all counts.
        let enforced = diagnose(.commands) {
            $0.policies?.enforced = Policy(
                name: "op", pattern: ".*", priority: 2,
                definition: ["delivery-limit": .number(3), "max-in-memory-length": .number(9)])
        }
        #expect(enforced.texts.count == 1 && enforced.texts[0].hasSuffix("(operator policy 'op')"))
        #expect(enforced.remedy.isEmpty)
    }

    @Test("An operator policy is changed once, for all that it does to any queue")
    func operatorPolicies() {
        let op = Policy(
            name: "op", pattern: "^routing", priority: 2,
            definition: [
                "delivery-limit": .number(200_000), "message-ttl": .number(2 * 86_400_000),
                "max-in-memory-length": .number(9),
            ])
        var policies = OperatorPolicies()
        // Each is harmed by one key of it that the others do not mind, and by one that they do.
        for role in [Topology.Role.results, .deadLetters] {
            let diagnosis = diagnose(role) { $0.policies?.enforced = op }
            #expect(diagnosis.remedy.isEmpty && !diagnosis.isWell)
            if let harm = diagnosis.harm { policies.add(harm, to: queue(role).name) }
        }
        var diagnoses = policies.diagnoses(needs.control)
        #expect(diagnoses.count == 1)
        #expect(diagnoses.first?.subject == "operator policy 'op'")
        #expect(
            diagnoses.first?.texts == ["it sets delivery-limit, message-ttl for queue 'routing.results' and 1 others"])
        #expect(diagnoses.first?.severities == [.loss])
        #expect(
            diagnoses.first?.lines == [
                "this policy applies to every queue that matches '^routing'; ask its owner:",
                "$ rabbitmqctl set_operator_policy -p / --priority 2 --apply-to queues op '^routing' "
                    + #"'{"max-in-memory-length":9}'"#,
            ])

        policies = OperatorPolicies()
        let alone = diagnose(.commands) {
            $0.policies?.enforced = Policy(name: "op", pattern: ".*", definition: ["delivery-limit": .number(3)])
        }
        if let harm = alone.harm { policies.add(harm, to: "routing.commands") }
        diagnoses = policies.diagnoses(needs.control)
        #expect(diagnoses.first?.commands == ["rabbitmqctl clear_operator_policy -p / op"])
    }

    @Test("Without a delivery limit RabbitMQ 4 loses messages, and RabbitMQ 3 their order")
    func noDeliveryLimit() {
        for (version, severity) in [(4, Diagnosis.Finding.Severity.loss), (nil, .loss), (3, .risk)] {
            let diagnosis = diagnose(.results, { $0.arguments["delivery-limit"] = nil }, version: version)
            #expect(diagnosis.severities == [severity])
            #expect(
                diagnosis.commands == [
                    "rabbitmqctl set_policy -p / --priority 100 --apply-to queues route-worker.routing.results "
                        + #"'^routing\.results$' '{"delivery-limit":1000}'"#
                ])
        }
    }

    @Test(
        "Commands that the broker takes away must reach the dead letters",
        arguments: [Topology.Role.commands, .parking])
    func deadLettering(role: Topology.Role) {
        let limit = queue(role).declared("delivery-limit")!.description
        let none = diagnose(role) {
            for key in ["dead-letter-exchange", "dead-letter-routing-key", "dead-letter-strategy", "overflow"] {
                $0.arguments[key] = nil
            }
        }
        #expect(none.findings.count == 1 && none.texts[0].hasPrefix("it has no dead-letter exchange: "))
        #expect(
            none.commands[0].hasSuffix(
                #"'{"dead-letter-exchange":"","dead-letter-routing-key":"routing.dead-letters","#
                    + #""dead-letter-strategy":"at-least-once","delivery-limit":\#(limit),"overflow":"reject-publish"}'"#
            ),
            "\(none.commands)")

        let changes: [(String, Diagnosis.Finding.Severity, String, (inout QueueFacts) -> Void)] = [
            ("own dead-letter queue", .loss, "set_policy", { $0.arguments["dead-letter-routing-key"] = nil }),
            (
                "own dead-letter queue", .loss, "delete_queue",
                { $0.arguments["dead-letter-routing-key"] = .text(queue(role).name) }
            ),
            ("queue 'x'", .risk, "delete_queue", { $0.arguments["dead-letter-routing-key"] = .text("x") }),
            (
                "'nowhere' does not exist", .loss, "delete_queue",
                {
                    $0.arguments["dead-letter-exchange"] = .text("nowhere")
                    $0.hasDeadLetterExchange = false
                }
            ),
            ("not at-least-once", .loss, "set_policy", { $0.arguments["dead-letter-strategy"] = nil }),
            (
                "not at-least-once", .loss, "delete_queue",
                { $0.arguments["dead-letter-strategy"] = .text("at-most-once") }
            ),
            ("takes overflow reject-publish", .loss, "set_policy", { $0.arguments["overflow"] = nil }),
            ("takes overflow reject-publish", .loss, "set_policy", { $0.arguments["overflow"] = .text("drop-head") }),
        ]
        for (words, severity, verb, change) in changes {
            let diagnosis = diagnose(role, change)
            #expect(diagnosis.severities == [severity] && diagnosis.texts[0].contains(words), "\(diagnosis.texts)")
            #expect(diagnosis.commands.first?.hasPrefix("rabbitmqctl \(verb) ") == true, "\(diagnosis.commands)")
        }
        let elsewhere = diagnose(role) {
            $0.arguments["dead-letter-exchange"] = .text("their.dlx")
            $0.hasDeadLetterExchange = true
        }
        #expect(elsewhere.severities == [.risk] && elsewhere.remedy.isEmpty)
    }

    @Test("An ack timeout has to outlast the work on a command")
    func ackTimeout() {
        let timeouts: [(Int, Bool)] = [(130_000, false), (130_001, true)]
        for (timeout, isWell) in timeouts {
            let diagnosis = diagnose(.commands) { $0.arguments["consumer-timeout"] = .number(timeout) }
            #expect(diagnosis.isWell == isWell, "\(diagnosis.texts)")
        }
    }

    @Test("A policy that spoils a queue is overridden for this queue alone, and keeps its other keys")
    func guardingPolicy() {
        let spoiling = Policy(
            name: "all", pattern: "^routing", applyTo: "all", priority: 7,
            definition: [
                "message-ttl": .number(1000), "expires": .number(5), "ha-params": .list([.text("a'b")]),
                "delivery-limit": .number(5),
            ])
        let diagnosis = diagnose(.commands) { $0.policies?.own = spoiling }
        #expect(diagnosis.severities == [.loss, .loss, .loss])
        #expect(
            diagnosis.commands == [
                "rabbitmqctl set_policy -p / --priority 8 --apply-to queues route-worker.routing.commands "
                    + #"'^routing\.commands$' '{"delivery-limit":1000,"ha-params":["a'\''b"]}'"#
            ])
        // A queue that is made anew anyway needs no policy for what it lacks.
        let lacking = diagnose(.commands) { $0.arguments = ["delivery-limit": .number(5)] }
        #expect(lacking.findings.count == 2 && lacking.commands.count == 2)
        #expect(lacking.commands[0].hasPrefix("rabbitmqctl delete_queue "))
        // Its own policy is not outbid.
        let own = diagnose(.commands) {
            $0.policies?.own = Policy(
                name: "route-worker.routing.commands", pattern: "", priority: 8, definition: ["message-ttl": .number(1)]
            )
        }
        #expect(own.commands[0].contains("--priority 8 "))
        let unseen = diagnose(.commands) {
            $0.arguments["dead-letter-strategy"] = nil
            $0.policies = nil
        }
        #expect(unseen.remedy.count == 2)
        guard case .say = unseen.remedy[0], case .run = unseen.remedy[1] else {
            Issue.record("\(unseen.remedy)")
            return
        }
        // Nothing harmless can be said of a classic queue.
        let counting = diagnose(.counting) {
            $0.policies?.own = Policy(name: "p", pattern: "", definition: ["expires": .number(1)])
        }
        #expect(counting.commands.isEmpty && counting.remedy == [.say("take it out of the policy 'p'")])
    }

    @Test("Of several policies the one of the highest priority applies, to queues of its type")
    func appliedPolicies() {
        let policies = Policies(
            own: [
                Policy(name: "low", pattern: "^routing", definition: [:]),
                Policy(name: "exchanges", pattern: "", applyTo: "exchanges", priority: 9, definition: [:]),
                Policy(name: "classic", pattern: "", applyTo: "classic_queues", priority: 5, definition: [:]),
                Policy(name: "other", pattern: "^x", priority: 4, definition: [:]),
                Policy(name: "broken", pattern: "(", priority: 10, definition: [:]),
                Policy(name: "high", pattern: "commands", applyTo: "all", priority: 1, definition: [:]),
            ], enforced: [Policy(name: "op", pattern: "", applyTo: "quorum_queues", definition: [:])])
        let applied = policies.applied(to: "routing.commands", .quorum)
        #expect(applied.own?.name == "high" && applied.enforced?.name == "op")
        #expect(policies.applied(to: "routing.commands", .classic).own?.name == "classic")
        #expect(policies.unreadable == ["broken"])
    }
}
