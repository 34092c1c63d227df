// How tests wait for what no event tells, and what they say when it does not come.

import Testing

/// Looks until there is something to see. The one place where integration tests poll.
@discardableResult
func eventually<Value>(
    _ what: @autoclosure () -> String, within limit: Duration = .seconds(90), _ look: () async throws -> Value?
) async throws -> Value {
    let deadline = ContinuousClock.now + limit
    while true {
        if let value = try await look() { return value }
        guard ContinuousClock.now < deadline else { throw Missing(what()) }
        try await Task.sleep(for: .milliseconds(20))
    }
}

/// Looks until something holds.
func until(
    _ what: @autoclosure () -> String, within limit: Duration = .seconds(90), _ holds: () async throws -> Bool
) async throws {
    try await eventually(what(), within: limit) { try await holds() ? true : nil }
}

/// Something did not come.
struct Missing: Error, CustomStringConvertible {
    let description: String

    init(_ what: String) { description = "missing: \(what)" }
}

/// An error with what the workers had said until then.
struct WorkerFailure: Error, CustomStringConvertible {
    let description: String

    static func with(_ error: any Error, log: String) -> any Error {
        // Its issue has been recorded, with the log.
        if error is ExpectationFailedError { return error }
        return WorkerFailure(description: "\(error)\n\(log)")
    }
}

extension Trait where Self == IssueHandlingTrait {
    /// Shows the end of the workers' logs with every expectation that fails inside ``withHarness(_:_:)``.
    static var showsWorkerLog: Self {
        .compactMapIssues { issue in
            guard let harness = WorkerHarness.current else { return issue }
            var issue = issue
            let log = Comment(rawValue: harness.workerLog)
            // The trait of a suite is asked once for the suite and once for the test.
            if !issue.comments.contains(log) { issue.comments.append(log) }
            return issue
        }
    }
}
