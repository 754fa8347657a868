//! Answers that refuse, with right or wrong.

use super::answers::Answered;
use super::front::Behind;
use super::request::{Reply, Request};

/// A refusal as S3 writes it.
pub fn refusal(status: &str, headers: &[(&str, &str)], code: &str, more: &str) -> Answered {
    let xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code><Message>{code}</Message>{more}<RequestId>1</RequestId></Error>"
    );
    Ok(Reply::new(status, &[&[("content-type", "application/xml")], headers].concat(), xml))
}

pub fn conflict(_: &Request, _: &Behind) -> Answered {
    refusal("409 Conflict", &[], "ConditionalRequestConflict", "")
}

pub fn precondition(_: &Request, _: &Behind) -> Answered {
    refusal("412 Precondition Failed", &[], "PreconditionFailed", "")
}

pub fn precondition_afterwards(request: &Request, behind: &Behind) -> Answered {
    behind.ask(request)?;
    precondition(request, behind)
}

pub fn not_modified(_: &Request, _: &Behind) -> Answered {
    Ok(Reply { status: "304 Not Modified".into(), ..Reply::default() })
}

pub fn moved(_: &Request, behind: &Behind) -> Answered {
    let more = format!("<Endpoint>{}</Endpoint>", behind.elsewhere);
    refusal("301 Moved Permanently", &[("location", &behind.elsewhere)], "PermanentRedirect", &more)
}

pub fn redirected(_: &Request, behind: &Behind) -> Answered {
    let more = format!("<Endpoint>{}</Endpoint>", behind.elsewhere);
    refusal("307 Temporary Redirect", &[("location", &behind.elsewhere)], "TemporaryRedirect", &more)
}

pub fn another_region(_: &Request, _: &Behind) -> Answered {
    let headers = [("x-amz-bucket-region", "eu-central-1")];
    refusal("400 Bad Request", &headers, "AuthorizationHeaderMalformed", "<Region>eu-central-1</Region>")
}

pub fn skewed_by_years(_: &Request, _: &Behind) -> Answered {
    refusal("403 Forbidden", &[("date", "Fri, 31 Dec 1999 23:59:59 GMT")], "RequestTimeTooSkewed", "")
}

pub fn expired(_: &Request, _: &Behind) -> Answered {
    refusal("400 Bad Request", &[], "ExpiredToken", "")
}

pub fn denied(_: &Request, _: &Behind) -> Answered {
    refusal("403 Forbidden", &[], "AccessDenied", "")
}

pub fn slow_down(_: &Request, _: &Behind) -> Answered {
    refusal("503 Slow Down", &[("retry-after", "1")], "SlowDown", "")
}

pub fn slow_down_for_years(_: &Request, _: &Behind) -> Answered {
    refusal("503 Slow Down", &[("retry-after", "18446744073709551615")], "SlowDown", "")
}

pub fn internal(_: &Request, _: &Behind) -> Answered {
    refusal("500 Internal Server Error", &[], "InternalError", "")
}

pub fn error_afterwards(request: &Request, behind: &Behind) -> Answered {
    behind.ask(request)?;
    internal(request, behind)
}

pub fn not_there(_: &Request, _: &Behind) -> Answered {
    refusal("404 Not Found", &[], "NoSuchKey", "")
}

pub fn no_status(_: &Request, _: &Behind) -> Answered {
    Ok(Reply::new("999 What", &[], ""))
}
