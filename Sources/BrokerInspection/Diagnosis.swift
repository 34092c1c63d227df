// What an inspection finds, and what mends it.

/// What is wrong with one thing on the broker.
public struct Diagnosis: Sendable, Hashable {
    /// One thing that is wrong.
    public struct Finding: Sendable, Hashable {
        public enum Severity: Sendable, Hashable {
            /// Messages are lost, or not worked on.
            case loss
            /// Nothing is lost as long as something else holds.
            case risk
            /// It could not be seen.
            case unknown
        }

        public var severity: Severity
        public var text: String

        public init(_ severity: Severity, _ text: String) {
            self.severity = severity
            self.text = text
        }
    }

    /// A step of the way out.
    public enum Step: Sendable, Hashable {
        /// Something that is not done by a command.
        case say(String)
        /// A command for a shell: `rabbitmqctl`, by whoever administers the broker, or `route-worker`.
        case run(String)
    }

    /// Such as `queue 'routing.commands'`.
    public var subject: String
    public var findings: [Finding]
    /// Mends all findings together.
    public var remedy: [Step]
    /// What an operator policy does to it, which is mended for all queues together.
    var harm: PolicyHarm?

    public init(_ subject: String, _ findings: [Finding], remedy: [Step] = []) {
        self.subject = subject
        self.findings = findings
        self.remedy = remedy
    }

    public var isWell: Bool { findings.isEmpty }
}
