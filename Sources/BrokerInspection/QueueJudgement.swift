// What is wrong with a queue, from what it is and what it is for. Pure.

import RouteWorker
import WorkerSettings

/// Judges one queue.
///
/// What stands in a queue's declaration can only be changed by making it anew. What a policy spoils is mended by a policy
/// for this queue alone that goes over it, which also adds what the declaration lacks. What an operator policy spoils is
/// told, and mended for all queues together (``OperatorPolicies``).
struct QueueJudgement {
    private enum Cure: Hashable {
        case recreate
        /// A policy that adds what the declaration lacks.
        case addition
        /// A policy that goes over another one.
        case policy
    }

    private let queue: Topology.Queue
    private let needs: BrokerNeeds
    private let rules: RoleRules
    private let found: QueueKind
    private var facts: QueueFacts
    private let brokerVersion: Int?
    private let mayDeclare: Bool

    private var findings: [Diagnosis.Finding] = []
    private var cures: Set<Cure> = []
    /// What no policy may say of this queue.
    private var spoiling: Set<String> = []
    private var harm: PolicyHarm?
    /// What a policy has to say of it, beside what belongs to its declaration.
    private var lacking: [String: QueueValue] = [:]

    /// - Parameters:
    ///   - facts: `nil` where there is no such queue.
    ///   - brokerVersion: the first number of it; `nil` where it is not known.
    ///   - mayDeclare: whether the worker's user may make it (anew).
    static func diagnose(
        _ queue: Topology.Queue, _ facts: QueueFacts?, _ needs: BrokerNeeds, brokerVersion: Int?, mayDeclare: Bool
    ) -> Diagnosis {
        let subject = "queue '\(queue.name)'"
        let rules = RoleRules(queue, needs)
        guard let facts else {
            return Diagnosis(
                subject, [.init(.loss, "it is missing: \(rules.withoutIt)")],
                remedy: (rules.beforeDeclaring.map { [.say($0)] } ?? [])
                    + needs.beforeDeclaring(mayDeclare: mayDeclare) + [.run(needs.declareCommand(queue.name))])
        }
        var judgement = QueueJudgement(
            queue: queue, needs: needs, rules: rules, facts: facts, brokerVersion: brokerVersion, mayDeclare: mayDeclare
        )
        judgement.judge()
        var diagnosis = Diagnosis(subject, judgement.findings, remedy: judgement.remedy)
        diagnosis.harm = judgement.harm
        return diagnosis
    }

    private init(
        queue: Topology.Queue, needs: BrokerNeeds, rules: RoleRules, facts: QueueFacts, brokerVersion: Int?,
        mayDeclare: Bool
    ) {
        self.queue = queue
        self.needs = needs
        self.rules = rules
        found = facts.kind
        self.facts = facts
        self.brokerVersion = brokerVersion
        self.mayDeclare = mayDeclare
    }

    private mutating func judge() {
        judgeKind()
        judgeLife()
        judgeTimes()
        judgeLength()
        if rules.kind == .quorum { judgeDeliveryLimit() }
        if rules.isDeadLettered { judgeDeadLettering() }
        if rules.isWorkedOn { judgeAckTimeout() }
    }

    private mutating func judgeKind() {
        guard facts.kind != rules.kind else { return }
        let why =
            switch rules.kind {
            case .quorum: "what it holds goes with one node, and nobody counts how often it is delivered"
            case .classic: "its consumers cannot be counted, and workers share the work unevenly"
            case .stream: "workers that start later do not learn what was said before"
            case .other: "the worker knows no such queue"
            }
        find("it is a \(facts.kind) and must be a \(rules.kind): \(why)", .recreate)
        // Made anew it is as it should be, but for what policies do to it.
        let policies = facts.policies
        facts = QueueFacts(kind: rules.kind, arguments: queue.declaredArguments, policies: policies)
    }

    private mutating func judgeLife() {
        if !facts.isDurable {
            find("it is not durable: it is gone, with all that it holds, when the broker restarts", .recreate)
        }
        if facts.isAutoDelete { find("it is deleted, with all that it holds, when its last consumer goes", .recreate) }
        if facts.isExclusive {
            find("it is exclusive to one connection: no worker can reach it, and it is deleted with that", .recreate)
        }
        for expiry in facts.all("expires") {
            find("it is deleted, with all that it holds, when unused for \(expiry.time)", by: expiry, "expires")
        }
        if rules.hasOneConsumer, facts.arguments["single-active-consumer"] != .flag(true) {
            find("it may have several consumers at a time, which mix up the order of its commands", .recreate, .risk)
        }
    }

    private mutating func judgeTimes() {
        if let keptFor = rules.keptFor {
            for ttl in facts.all("message-ttl") {
                let isTooShort = ttl.milliseconds.map { $0 < keptFor } ?? true
                let wait = isTooShort ? ", and may have to wait for \(keptFor.settingText)" : ""
                find(
                    "its messages expire after \(ttl.time)\(wait): the broker takes them away, and nobody is told",
                    by: ttl, "message-ttl", isTooShort ? .loss : .risk)
            }
        }
        for age in facts.all("max-age") where rules.kind == .stream && age.value != queue.declared("max-age") {
            find("it forgets what was said more than \(age.value) ago", by: age, "max-age", .risk)
        }
    }

    private mutating func judgeLength() {
        guard rules.keptFor != nil, facts.policyFirst("overflow")?.value != Self.refusing else { return }
        for (key, unit) in [("max-length", "messages"), ("max-length-bytes", "bytes")] {
            for limit in facts.all(key) {
                let text = "it holds at most \(limit.value) \(unit), and drops the oldest for each new one"
                if limit.source == .argument {
                    // A full queue that refuses what is published loses nothing; that can be had by a policy.
                    lacking["overflow"] = Self.refusing
                    find(text, .addition)
                } else {
                    find(text, by: limit, key)
                }
            }
        }
    }

    private mutating func judgeDeliveryLimit() {
        guard let least = rules.leastDeliveryLimit, let declared = queue.declared("delivery-limit")?.number else {
            return
        }
        let limits = facts.all("delivery-limit")
        for limit in limits {
            // Below 0 there is none (RabbitMQ 4).
            guard let number = limit.value.number, (0..<declared).contains(number) else { continue }
            if number < least {
                find(
                    "its delivery limit is \(number): the broker takes away what was delivered more often, as happens in "
                        + "ordinary work (\(least) at least, \(declared) is usual)", by: limit, "delivery-limit")
            } else {
                find(
                    "its delivery limit is \(number), which leaves less room than the usual \(declared)", by: limit,
                    "delivery-limit", .risk)
            }
        }
        guard limits.isEmpty else { return }
        if let brokerVersion, brokerVersion < 4 {
            find(
                "it has no delivery limit: what is handed back goes behind what came later; RabbitMQ 4 makes it 20",
                .addition, .risk)
        } else {
            find("it has no delivery limit of its own: RabbitMQ 4 takes away what was delivered 20 times", .addition)
        }
    }

    private mutating func judgeDeadLettering() {
        let what = "what the broker rejects or has delivered too often"
        guard let target = facts.argumentFirst("dead-letter-exchange"), let exchange = target.value.text else {
            return find("it has no dead-letter exchange: \(what) is dropped", .addition)
        }
        let key = facts.argumentFirst("dead-letter-routing-key")
        if exchange.isEmpty, key == nil || key?.value == .text(queue.name) {
            find(
                "it is its own dead-letter queue: \(what) comes back or is dropped", by: key, "dead-letter-routing-key")
        } else if exchange.isEmpty, let key, key.value != .text(needs.deadLetterQueue) {
            find(
                "\(what) goes to queue '\(key.value)', and operators look into '\(needs.deadLetterQueue)'", by: key,
                "dead-letter-routing-key", .risk)
        } else if !exchange.isEmpty, facts.hasDeadLetterExchange == false {
            find(
                "its dead-letter exchange '\(exchange)' does not exist: \(what) is dropped", by: target,
                "dead-letter-exchange")
        } else if !exchange.isEmpty {
            find(
                "\(what) goes to exchange '\(exchange)': see that it ends up in '\(needs.deadLetterQueue)'", nil, .risk)
        }

        let strategy = facts.argumentFirst("dead-letter-strategy")
        let overflow = facts.policyFirst("overflow")
        let lost = "\(what) can be lost on its way to the dead letters"
        if strategy?.value != .text("at-least-once") {
            find("\(lost): its strategy is not at-least-once", by: strategy, "dead-letter-strategy")
        } else if overflow?.value != Self.refusing {
            let isPolicy = overflow.map { $0.source != .argument } ?? false
            if isPolicy { spoiling.insert("overflow") }
            find("\(lost): at-least-once takes overflow reject-publish as well", isPolicy ? .policy : .addition)
        }
    }

    /// The broker's own limit, where the queue has none, cannot be asked for.
    private mutating func judgeAckTimeout() {
        for timeout in facts.all("consumer-timeout") {
            guard let limit = timeout.milliseconds, limit <= needs.longestWork else { continue }
            find(
                "the broker takes back what is not acknowledged after \(timeout.time), and a command may be worked on for "
                    + "\(needs.longestWork.settingText) (retry.budget and callTimeout): it is delivered over and over",
                by: timeout, "consumer-timeout")
        }
    }

    // MARK: Finding

    private mutating func find(_ text: String, _ cure: Cure?, _ severity: Diagnosis.Finding.Severity = .loss) {
        findings.append(.init(rules.atMost(severity), text))
        if let cure { cures.insert(cure) }
    }

    /// - Parameter setting: what is wrong, or `nil` where something is missing, which a policy can add.
    private mutating func find(
        _ text: String, by setting: QueueFacts.Setting?, _ key: String,
        _ severity: Diagnosis.Finding.Severity = .loss
    ) {
        switch setting?.source {
        case nil: find(text, .addition, severity)
        case .argument: find(text, .recreate, severity)
        case .policy(let name):
            spoiling.insert(key)
            find("\(text) (policy '\(name)')", .policy, severity)
        case .operatorPolicy(let name):
            find("\(text) (operator policy '\(name)')", nil, severity)
            guard let policy = facts.policies?.enforced else { return }
            var found = harm ?? PolicyHarm(policy: policy, keys: [], severity: rules.atMost(severity))
            found.keys.insert(key)
            if rules.atMost(severity) == .loss { found.severity = .loss }
            harm = found
        }
    }

    // MARK: Mending

    private var remedy: [Diagnosis.Step] {
        var steps: [Diagnosis.Step] = []
        if cures.contains(.policy) || cures.contains(.addition) && !cures.contains(.recreate) {
            if facts.policies == nil {
                steps.append(.say("this takes the place of any other policy on the queue, which could not be seen:"))
            }
            let policy = guardingPolicy
            steps.append(
                policy.definition.isEmpty
                    ? .say("take it out of the policy '\(facts.policies?.own?.name ?? "")'")
                    : .run(needs.control.setPolicy(policy)))
        }
        if cures.contains(.recreate) {
            // Whoever may not declare must know before the queue is gone.
            steps.append(.say(rules.beforeMakingAnew(found)))
            steps += needs.beforeDeclaring(mayDeclare: mayDeclare)
            steps += [
                .run(needs.control.deleteQueue(queue.name, ifEmpty: found == .classic)),
                .run(needs.declareCommand(queue.name)),
            ]
        }
        return steps
    }

    /// For this queue alone, over whatever policy there is: its definition without what spoils, and what the declaration
    /// lacks. A policy that says nothing is none, and a high delivery limit never harms.
    private var guardingPolicy: Policy {
        let present = facts.policies?.own
        let name = "route-worker.\(queue.name)"
        var definition = (present?.definition ?? [:]).filter { !spoiling.contains($0.key) }
        definition.merge(lacking) { $1 }
        for (key, value) in queue.declaredArguments where Self.additions.contains(key) {
            if key == "delivery-limit" || facts.policyFirst(key)?.value != value { definition[key] = value }
        }
        let priority = present.map { $0.name == name ? $0.priority : $0.priority + 1 }
        return Policy(
            name: name, pattern: "^\(BrokerControl.escaped(queue.name))$", priority: priority ?? Self.priority,
            definition: definition)
    }

    private static let refusing = QueueValue.text("reject-publish")
    /// What a policy can add to a declaration.
    private static let additions: Set = [
        "delivery-limit", "dead-letter-exchange", "dead-letter-routing-key", "dead-letter-strategy", "overflow",
    ]
    /// Above what is usual, where no other policy is there or could be seen.
    private static let priority = 100
}

extension QueueFacts.Setting {
    /// A time, as the broker counts it.
    fileprivate var milliseconds: Duration? { value.number.map { .milliseconds($0) } }
    fileprivate var time: String { milliseconds?.settingText ?? value.description }
}
