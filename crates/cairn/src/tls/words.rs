//! What an error of TLS means for whoever reads it, and what to do.

use std::io;

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};

/// What the reader calls what it can change.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Names {
    /// Whom we trust.
    pub(crate) trust: &'static str,
    /// What we show of ourselves.
    pub(crate) own: &'static str,
}

/// On the command line.
pub(crate) const COMMAND_LINE: Names = Names { trust: "--cacert", own: "--cert and --key" };

/// Of the client port.
pub(crate) const CLIENT_PORT: Names =
    Names { trust: "client_tls_ca", own: "client_tls_cert and client_tls_key" };

/// Of the peer port, and of connections to others'.
pub(crate) const PEER_PORT: Names =
    Names { trust: "peer_tls_ca", own: "peer_tls_cert and peer_tls_key" };

/// What TLS found wrong, if that is what this error is about.
pub(crate) fn fault(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

/// What an error of a handshake means, said of the other side.
pub(crate) fn explain(error: &Error, names: Names) -> String {
    match error {
        Error::InvalidCertificate(wrong) => {
            format!("its certificate {}", certificate(wrong, names))
        }
        Error::NoCertificatesPresented => "it shows no certificate, and one is demanded".to_owned(),
        Error::AlertReceived(alert) => of_alert(*alert, names),
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "it does not speak TLS".to_owned()
        }
        Error::PeerIncompatible(why) => format!("it speaks no TLS that we speak: {why:?}"),
        Error::NoApplicationProtocol => "it wants none of the protocols spoken here".to_owned(),
        error => format!("TLS failed: {error}"),
    }
}

fn certificate(wrong: &CertificateError, names: Names) -> String {
    match wrong {
        CertificateError::UnknownIssuer => {
            format!("is signed by no CA that is trusted here ({})", names.trust)
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "has expired".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "is not valid yet; is the clock of this machine right?".to_owned()
        }
        CertificateError::NotValidForName => "is for another host".to_owned(),
        CertificateError::NotValidForNameContext { expected, presented } => {
            let presented = presented.join(", ");
            format!("is for another host: for {presented}, not for {}", expected.to_str())
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "is not made for this use: its extended key usage must have serverAuth for who is called, \
             clientAuth for who calls, and both for a node among nodes"
                .to_owned()
        }
        wrong => format!("can't be trusted: {wrong}"),
    }
}

fn of_alert(alert: AlertDescription, names: Names) -> String {
    let own = names.own;
    match alert {
        AlertDescription::CertificateRequired => {
            format!("it demands a certificate of its callers; give one with {own}")
        }
        AlertDescription::UnknownCA => {
            format!("it does not trust the CA that signed our certificate ({own})")
        }
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateUnknown
        | AlertDescription::AccessDenied => {
            format!("it refuses our certificate ({own}): {alert:?}")
        }
        alert => format!("it ended the handshake: {alert:?}"),
    }
}
