// The reasons of a call without an answer: stable words, here once.

extension CallFailure {
    /// The words of ``CallFailure/reason``.
    public enum Reason {
        // No request was made.
        /// The configuration has no endpoint for the command's org, or the org's part of it cannot be used.
        public static let orgNotConfigured = "org-not-configured"
        /// No access token could be had.
        public static let tokenUnavailable = "token-unavailable"
        /// The access token was refused soon after it was given, and it is too early to ask for another one; or the call's
        /// time was over before one came.
        public static let tokenNotYet = "token-not-yet"
        /// A value of the command cannot be a header.
        public static let unsafeHeader = "unsafe-header"
        /// Every connection stayed busy for as long as a call may wait for one.
        public static let noConnectionFree = "no-connection-free"
        /// Too many calls were waiting for a connection already.
        public static let tooManyWaiting = "too-many-waiting"
        public static let nameNotResolved = "name-not-resolved"
        public static let connectFailed = "connect-failed"
        public static let connectTimeout = "connect-timeout"
        /// The proxy could not be talked to, or did not open the tunnel.
        public static let proxyFailed = "proxy-failed"
        public static let tlsFailed = "tls-failed"
        public static let tlsTimeout = "tls-timeout"
        /// The client was shut down.
        public static let clientClosed = "client-closed"

        // Before, during or after the request: the case of ``CallResult`` says how certain its end is.
        /// The time for writing the request or for its answer, or all the time there was, ran out.
        public static let timeout = "timeout"
        /// The calling task was cancelled.
        public static let cancelled = "cancelled"
        /// The connection ended in good order, but too early.
        public static let connectionClosed = "connection-closed"
        /// The connection broke.
        public static let connectionReset = "connection-reset"
        /// What came back is not HTTP, or its head is larger than accepted.
        public static let malformedAnswer = "malformed-answer"
    }
}
