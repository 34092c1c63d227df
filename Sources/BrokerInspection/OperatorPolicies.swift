// What operator policies do to the worker's queues, and how that is mended. Pure.

/// What an operator policy does to a queue.
struct PolicyHarm: Sendable, Hashable {
    var policy: Policy
    /// What it must not say.
    var keys: Set<String>
    /// The worst of it.
    var severity: Diagnosis.Finding.Severity
}

/// The operator policies that do harm.
///
/// No policy for one queue goes over an operator policy, which applies to all that its pattern matches. So each is changed
/// once, for all that it does to any queue: a change for one queue alone would bring back what the change for another took
/// out.
struct OperatorPolicies {
    private var harms: [String: (harm: PolicyHarm, queues: [String])] = [:]

    mutating func add(_ harm: PolicyHarm, to queue: String) {
        var known = harms[harm.policy.name] ?? (harm, [])
        known.harm.keys.formUnion(harm.keys)
        if harm.severity == .loss { known.harm.severity = .loss }
        known.queues.append(queue)
        harms[harm.policy.name] = known
    }

    func diagnoses(_ control: BrokerControl) -> [Diagnosis] {
        harms.sorted { $0.key < $1.key }.map { name, known in
            var policy = known.harm.policy
            policy.definition = policy.definition.filter { !known.harm.keys.contains($0.key) }
            let others = known.queues.count > 1 ? " and \(known.queues.count - 1) others" : ""
            let keys = known.harm.keys.sorted().joined(separator: ", ")
            return Diagnosis(
                "operator policy '\(name)'",
                [.init(known.harm.severity, "it sets \(keys) for queue '\(known.queues[0])'\(others)")],
                remedy: [
                    .say("this policy applies to every queue that matches '\(policy.pattern)'; ask its owner:"),
                    .run(control.setOperatorPolicy(policy)),
                ])
        }
    }
}
