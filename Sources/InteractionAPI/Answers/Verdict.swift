// What an answer can mean for a command.

public import RoutingContract

/// What an answer means.
public enum Verdict: Sendable, Hashable {
    case succeeded
    /// A delete found nothing to clear.
    case nothingCleared
    /// Refused for good.
    case rejected(CommandError)
    /// Refused until somebody changes the configuration on either side.
    case configuration(CommandError)
    /// The access token is not accepted.
    case token(CommandError)
    /// Refused for now, without effect. `retryAfter` is what the server asked for, bounded.
    case transient(CommandError, retryAfter: Duration?)
    /// It may have taken effect.
    case unknown(CommandError)
}
