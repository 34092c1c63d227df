// How tests wait for what no event tells, and what they say when it does not come.

import Testing

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
