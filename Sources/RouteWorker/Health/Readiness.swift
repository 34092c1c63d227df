// Whether a worker can do its work now. Pure.

/// What is missing, and for whom.
public enum Readiness {
    /// A sample is taken once a second; this old it says nothing.
    static let sampleHolds: Duration = .seconds(10)

    /// What keeps a worker from its work; nothing while it is ready. One line each, without secrets.
    public static func problems(_ sample: WorkerSample?, now: ContinuousClock.Instant) -> [String] {
        guard let sample else { return ["starting"] }
        guard now - sample.takenAt <= sampleHolds else {
            return ["the event loop has not turned for \((now - sample.takenAt).components.seconds) s"]
        }
        if sample.pipeline.isDraining { return ["draining"] }
        return broker(sample) + store(sample) + tokens(sample)
    }

    private static func broker(_ sample: WorkerSample) -> [String] {
        var problems: [String] = []
        if !sample.consumer.isConnected {
            problems.append("broker: not connected\(because(sample.consumer.lastError))")
        } else {
            for queue in sample.consumer.queues where !queue.isSubscribed {
                problems.append("broker: not consuming \(queue.queue)\(because(queue.lastError))")
            }
        }
        if let problem = sample.partitionProblem { problems.append("partitions: \(problem)") }
        for (name, publisher) in sample.publishers.sorted(by: { $0.key < $1.key }) {
            if !publisher.isConnected {
                problems.append("broker: \(name) not connected\(because(publisher.lastError))")
            } else if let reason = publisher.blockedBecause {
                problems.append("broker: takes no messages (\(reason))")
            }
        }
        return problems
    }

    private static func store(_ sample: WorkerSample) -> [String] {
        sample.storeFailure.map { ["store: \($0)"] } ?? []
    }

    /// One org's missing token is that org's trouble; that of all is the worker's.
    private static func tokens(_ sample: WorkerSample) -> [String] {
        let missing = sample.tokenProblems.sorted { $0.key < $1.key }
        guard let (org, why) = missing.first, missing.count >= sample.orgsWithTokens else { return [] }
        return ["tokens: none of \(missing.count) orgs has an access token (\(org): \(why))"]
    }

    private static func because(_ error: (some CustomStringConvertible)?) -> String {
        error.map { ": \($0)" } ?? ""
    }
}
